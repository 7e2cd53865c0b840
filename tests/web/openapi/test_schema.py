from __future__ import annotations

from typing import Any

import pytest

from gateway.expressions.json_schema import compile_schema
from gateway.web.openapi.schema import NEVER, as_schema, literal, schema_text


@pytest.mark.parametrize(
    "value", [None, True, 0, 1.5, "", "a", [], [1, "a"], {}, {"a": {"b": [None]}}]
)
def test_only_the_value_meets_its_literal(value: Any) -> None:
    schema = compile_schema(literal(value))
    assert schema.is_valid(value)
    others: list[Any] = [None, False, 1, "b", [2], [1], {"b": 1}, {"a": {"b": [None, 1]}}]
    assert not any(schema.is_valid(other) for other in others if other != value)


def test_what_is_no_json_has_no_literal() -> None:
    assert literal(float("inf")) == {}


def test_true_and_false_are_schemas() -> None:
    assert as_schema(True) == {}
    assert as_schema(False) == NEVER
    assert as_schema({"type": "null"}) == {"type": "null"}


def test_the_text_of_a_schema_tells_true_from_1_and_not_the_order_of_its_keys() -> None:
    assert schema_text({"const": True}) != schema_text({"const": 1})
    assert schema_text({"a": 1, "b": 2}) == schema_text({"b": 2, "a": 1})
