from __future__ import annotations

from typing import Any

import pytest

from gateway.web.openapi.schema import NEVER, NULL
from gateway.web.openapi.shapes import Shapes

INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
STRING = {"type": "string"}
ROOT = {
    "$defs": {"u": {"type": ["string", "null"]}, "v": {"anyOf": [{"$ref": "#/$defs/u"}, INTEGER]}}
}


@pytest.mark.parametrize(
    ("schemas", "union"),
    [
        ([], NEVER),
        ([NEVER, False, STRING], STRING),
        ([STRING, {}], {}),
        ([STRING, True], {}),
        ([STRING, INTEGER, STRING], {"anyOf": [STRING, INTEGER]}),
        ([NULL, STRING], {"anyOf": [STRING, NULL]}),
        ([{"anyOf": [STRING, NULL]}, NULL], {"anyOf": [STRING, NULL]}),
        # What another one says already is left out.
        ([{"type": ["string", "null"]}, NULL], {"type": ["string", "null"]}),
        ([{"$ref": "#/$defs/u"}, NULL], {"$ref": "#/$defs/u"}),
        ([{"$ref": "#/$defs/v"}, NULL], {"$ref": "#/$defs/v"}),
        ([INTEGER, NUMBER], NUMBER),
        ([{"type": "integer", "minimum": 0}, INTEGER], INTEGER),
        ([{"const": 5}, INTEGER], INTEGER),
        ([{"const": 5}, STRING], {"anyOf": [{"const": 5}, STRING]}),
        ([{"enum": ["a", "b"]}, STRING], STRING),
        ([{"enum": ["a", 1]}, STRING], {"anyOf": [{"enum": ["a", 1]}, STRING]}),
        ([{"type": "boolean", "const": True}, {"type": "boolean", "const": False}],
         {"type": "boolean"}),
        # An object with more members declared is no narrower.
        ([{"type": "object", "properties": {"a": STRING}, "additionalProperties": INTEGER},
          {"type": "object", "additionalProperties": INTEGER}],
         {"anyOf": [
             {"type": "object", "properties": {"a": STRING}, "additionalProperties": INTEGER},
             {"type": "object", "additionalProperties": INTEGER}]}),
        # true is no 1.
        ([{"items": {"const": 1}}, {"items": {"const": True}}],
         {"anyOf": [{"items": {"const": 1}}, {"items": {"const": True}}]}),
        # All types there are.
        ([{"type": kind} for kind in ("boolean", "number", "string", "array", "object")], {}),
    ],
)  # fmt: skip
def test_unions_say_nothing_twice(schemas: list[Any], union: Any) -> None:
    assert Shapes(ROOT).union(schemas) == union


@pytest.mark.parametrize(
    ("schema", "left"),
    [
        ({"type": ["string", "null"]}, STRING),
        ({"anyOf": [{"$ref": "#/$defs/u"}, NULL]}, STRING),
        ({"anyOf": [{"$ref": "#/$defs/x"}, NULL]}, {"anyOf": [{"$ref": "#/$defs/x"}, NULL]}),
        ({"$ref": "#/$defs/v"}, {"anyOf": [STRING, INTEGER]}),
        ({"enum": [None, "a"]}, {"type": "string", "const": "a"}),
        (STRING, STRING),
        (NULL, NEVER),
        ({}, {}),
        (True, {}),
        ({"minLength": 1}, {"minLength": 1}),
    ],
)
def test_null_is_taken_away(schema: Any, left: Any) -> None:
    assert Shapes(ROOT).without_null(schema) == left


def test_a_value_is_accepted_only_where_that_is_certain() -> None:
    shapes = Shapes(ROOT)
    assert shapes.accepts({"$ref": "#/$defs/v"}, 5)
    assert not shapes.accepts({"$ref": "#/$defs/v"}, 5.5)
    assert not shapes.accepts({"$ref": "#/$defs/nowhere"}, 5)
