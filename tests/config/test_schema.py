from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.schema import json_schema
from gateway.expressions.json_schema import Validator, compile_schema
from gateway.plan.load import document_model

CONFIG = Path(__file__).parents[2] / "config"


@functools.cache
def compiled() -> Validator:
    return compile_schema(json_schema(document_model()))


def test_the_shipped_schema_is_the_generated_one() -> None:
    """`make schema` writes it anew."""
    assert json.loads((CONFIG / "gateway.schema.json").read_text()) == json_schema(document_model())


def test_the_shipped_configuration_meets_it() -> None:
    document = yaml.safe_load((CONFIG / "gateway.yaml").read_text())
    assert list(compiled().iter_errors(document)) == []


def changed(**upstream: Any) -> dict[str, Any]:
    return {
        "upstreams": {"a": {"base_url": "http://a", **upstream}},
        "dashboards": {"d": {"path": "/d", "sections": {"x": {"get": "a:/"}}}},
    }


@pytest.mark.parametrize(
    ("upstream", "valid"),
    [
        ({}, True),
        ({"timeout": "2s"}, True),
        ({"timeout": 2}, False),
        ({"timeout": "2"}, False),
        ({"concurrency": 5}, True),
        ({"concurrency": "adaptive"}, True),
        ({"concurrency": "${N}"}, True),
        ({"base_url": "${URL}"}, True),
        ({"base_url": "${URL:-http://a}/v1"}, True),
        ({"base_url": "no url"}, False),
        ({"timeout": "${T:-2s}"}, True),
        ({"timeout": "$T"}, False),
        ({"transport": "${TRANSPORT}"}, True),
        ({"transport": "htpx"}, False),
        ({"cache": {"ttl": "${TTL}"}}, True),
        ({"max_body": "${MAX}"}, True),
        ({"concurrency": "many"}, False),
        ({"retry": {}}, True),
        ({"retry": {"attempts": 99}}, False),
        ({"cache": {"ttl": "upstream"}}, True),
        ({"nope": 1}, False),
    ],
)
def test_it_holds_what_the_loader_holds(upstream: dict[str, Any], *, valid: bool) -> None:
    assert compiled().is_valid(changed(**upstream)) is valid


def test_every_key_is_described() -> None:
    schema = json_schema(document_model())
    models = [schema, *schema["$defs"].values()]
    missing = [
        f"{model.get('title', '')}.{name}"
        for model in models
        for name, member in model.get("properties", {}).items()
        if "description" not in member and "$ref" not in member and "description" not in model
    ]
    assert missing == []


def test_names_are_no_place_for_variables() -> None:
    document = changed()
    document["upstreams"]["${A}"] = document["upstreams"]["a"]
    assert not compiled().is_valid(document)


def test_no_alternative_stands_twice() -> None:
    def check(node: Any) -> None:
        if isinstance(node, dict):
            branches = node.get("anyOf", [])
            assert all(b not in branches[:i] for i, b in enumerate(branches))
            assert not any(b.keys() == {"anyOf"} for b in branches)
            node = list(node.values())
        for child in node if isinstance(node, list) else []:
            check(child)

    check(json_schema(document_model()))
