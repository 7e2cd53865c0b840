from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.schema import json_schema
from gateway.json_schema import compile_schema

CONFIG = Path(__file__).parents[2] / "config"


def test_the_shipped_schema_is_the_generated_one() -> None:
    """`make schema` writes it anew."""
    assert json.loads((CONFIG / "gateway.schema.json").read_text()) == json_schema()


def test_the_shipped_configuration_meets_it() -> None:
    document = yaml.safe_load((CONFIG / "gateway.yaml").read_text())
    assert list(compile_schema(json_schema()).iter_errors(document)) == []


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
        ({"concurrency": "many"}, False),
        ({"retry": {}}, True),
        ({"retry": {"attempts": 99}}, False),
        ({"cache": {"ttl": "upstream"}}, True),
        ({"nope": 1}, False),
    ],
)
def test_it_holds_what_the_loader_holds(upstream: dict[str, Any], *, valid: bool) -> None:
    assert compile_schema(json_schema()).is_valid(changed(**upstream)) is valid


def test_every_key_is_described() -> None:
    schema = json_schema()
    models = [schema, *schema["$defs"].values()]
    missing = [
        f"{model.get('title', '')}.{name}"
        for model in models
        for name, member in model.get("properties", {}).items()
        if "description" not in member and "$ref" not in member and "description" not in model
    ]
    assert missing == []
