from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from pydantic import Field

from gateway.config import models
from gateway.config.markdown import Key, configuration, keys, settings
from gateway.config.models import Config, Model
from gateway.config.settings import Settings
from gateway.plan.load import document_model

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
EVERY_KEY = list(keys(document_model()))


def identity(key: Key) -> str:
    return f"{key.path}.{key.name}"


@pytest.mark.parametrize(
    ("page", "text"), [("configuration", configuration(document_model())), ("settings", settings())]
)
def test_the_committed_page_is_the_generated_one(page: str, text: str) -> None:
    assert (REFERENCE / f"{page}.md").read_text() == text, "run `make schema`"


@pytest.mark.parametrize("key", EVERY_KEY, ids=identity)
def test_every_key_has_a_type_a_description_and_a_valid_example(key: Key) -> None:
    assert key.type
    assert key.description.endswith(".")
    assert jsonschema_rs.validator_for(key.schema).is_valid(key.example)


def test_no_model_and_no_field_is_left_out() -> None:
    declared = {
        field.alias or field.serialization_alias or name
        for model in vars(models).values()
        if isinstance(model, type) and issubclass(model, Model)
        for name, field in model.model_fields.items()
    }
    assert declared <= {key.name for key in EVERY_KEY}
    assert {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} <= {
        key.name for key in EVERY_KEY
    }


@pytest.mark.parametrize(
    ("name", "type_", "default"),
    [
        ("upstreams.NAME.timeout", "duration", "`5s`"),
        ("upstreams.NAME.retry.base", "duration", "`50ms`"),
        ("upstreams.NAME.max_body", "size", "`8MiB`"),
        ("upstreams.NAME.base_url", "URL", "required"),
        ("upstreams.NAME.transport", "`native` or `httpx`", "`native`"),
        ("upstreams.NAME.concurrency", "integer from 1 to 10000 or `adaptive`", "`64`"),
        ("upstreams.NAME.retry", "[mapping](#upstreamsnameretry)", "none"),
        ("upstreams.NAME.forward_headers", "list of field names", "`[]`"),
        ("upstreams.NAME.cache.ttl", "duration or `upstream`", "required"),
        ("upstreams.NAME.hedge.ratio", "number above 0, at most 1", "`0.05`"),
        ("upstreams.NAME.retry.budget.reserve", "integer of at least 0", "`3`"),
        ("dashboards.NAME.sections.NAME.fallback", "any value", "none"),
        ("environment.GATEWAY_CACHE_MEMORY", "size", "`64MiB`"),
        ("environment.GATEWAY_DOCS", "boolean", "`true`"),
    ],
)
def test_types_and_defaults_read_as_they_are_written(name: str, type_: str, default: str) -> None:
    key = next(key for key in EVERY_KEY if identity(key) == name)
    assert (key.type, key.default) == (type_, default)


def test_a_model_that_stands_in_two_places_is_described_once() -> None:
    text = configuration(document_model())
    assert text.count("## `upstreams.NAME.cache`") == 1
    assert "The same keys are allowed at `dashboards.NAME.sections.NAME.cache`." in text
    assert "[mapping](#upstreamsnamecache)" in text


def test_a_key_without_an_example_is_named() -> None:
    class Extended(Config):
        """The document."""

        motto: str | None = Field(default=None, description="A line of text.")

    with pytest.raises(LookupError, match="`motto` has no example"):
        configuration(Extended)


def test_pipes_do_not_end_a_cell() -> None:
    class Extended(Config):
        """The document."""

        pick: str = Field(default="a || b", description="One | the other.")

    row = next(line for line in configuration(Extended).splitlines() if "`pick`" in line)
    assert r"One \| the other." in row
    assert len(re.findall(r"(?<!\\)\|", row)) == 6


def test_defaults_in_the_settings_are_those_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GATEWAY_{name.upper()}", raising=False)
    read: dict[str, Any] = Settings.read().model_dump()
    for key in EVERY_KEY:
        if key.path == "environment" and key.type.startswith("integer"):
            name = key.name.removeprefix("GATEWAY_").lower()
            assert key.default == ("none" if read[name] is None else f"`{read[name]}`")
