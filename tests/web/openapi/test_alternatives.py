from __future__ import annotations

from typing import Any

import pytest

from gateway.web.openapi.alternatives import few, intersection, length, member, own
from gateway.web.openapi.schema import NEVER, TYPES

INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
STRING = {"type": "string"}


def test_a_schema_without_a_type_has_an_alternative_of_each() -> None:
    assert [one["type"] for one in own({})] == list(TYPES)
    assert own({"type": ["string", "integer"], "minLength": 1, "minimum": 2}) == (
        {"type": "string", "minLength": 1},
        {"type": "integer", "minimum": 2},
    )


def test_listed_values_are_grouped_by_type() -> None:
    assert own({"enum": ["a", "b", 1, None]}) == (
        {"type": "null"},
        {"type": "string", "enum": ["a", "b"]},
        {"type": "integer", "const": 1},
    )


def test_too_many_alternatives_are_known_by_their_types() -> None:
    many = [{"type": "string", "minLength": n} for n in range(32)]
    assert few([*many, many[0]]) == tuple(many)
    assert few([*many, INTEGER]) == (STRING, INTEGER)


@pytest.mark.parametrize(
    ("these", "those", "common"),
    [
        ([STRING], [INTEGER], []),
        ([INTEGER], [NUMBER], [INTEGER]),
        ([{**STRING, "minLength": 1}], [{**STRING, "minLength": 3}], [{**STRING, "minLength": 3}]),
        ([{**STRING, "enum": ["a", "b"]}], [{**STRING, "const": "b"}], [{**STRING, "const": "b"}]),
        ([{**STRING, "const": "a"}], [{**STRING, "const": "b"}], []),
    ],
)
def test_an_intersection_meets_both(these: Any, those: Any, common: Any) -> None:
    assert intersection(tuple(these), tuple(those)) == tuple(common)


def test_the_length_of_a_closed_tuple_is_bounded_by_its_prefix() -> None:
    assert length({"type": "array"}) == (0, None)
    closed = {"type": "array", "prefixItems": [STRING, STRING], "items": False, "minItems": 1}
    assert length(closed) == (1, 2)


def test_a_member_that_is_not_declared_meets_a_pattern_or_the_rest() -> None:
    schema = {"properties": {"a": STRING}, "patternProperties": {"^x": INTEGER},
              "additionalProperties": False}  # fmt: skip
    assert member(schema, "a") == STRING
    assert member(schema, "b") == INTEGER
    assert member({"additionalProperties": False}, "b") == NEVER
