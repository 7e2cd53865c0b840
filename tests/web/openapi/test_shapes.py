from __future__ import annotations

from typing import Any

import pytest

from gateway.expressions.json_schema import compile_schema
from gateway.web.openapi.shapes import (
    NEVER,
    NULL,
    Shapes,
    hoisted,
    literal,
    moved,
    refers,
    tellable,
    with_items,
)

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


def test_a_value_is_accepted_only_where_that_is_certain() -> None:
    shapes = Shapes(ROOT)
    assert shapes.accepts({"$ref": "#/$defs/v"}, 5)
    assert not shapes.accepts({"$ref": "#/$defs/v"}, 5.5)
    assert not shapes.accepts({"$ref": "#/$defs/nowhere"}, 5)


def test_what_is_referred_to_stands_for_itself() -> None:
    schema = {
        "type": "object",
        "properties": {
            "id": {"$ref": "#/$defs/id"},
            "self": {"$ref": "#"},
            "other": {"$ref": "#/properties/id"},
            "odd": {"$ref": "#/$defs/a~1b%20c"},
            "same": {"$ref": "#/definitions/id"},
        },
        "$defs": {"id": INTEGER, "a/b c": {"$ref": "#/$defs/id", "$defs": {}}},
        "definitions": {"id": STRING},
    }
    assert hoisted(schema, "X", "#/c/") == {
        "X": {
            "type": "object",
            "properties": {
                "id": {"$ref": "#/c/X.id"},
                "self": {"$ref": "#/c/X"},
                "other": {"$ref": "#/c/X.properties.id"},
                "odd": {"$ref": "#/c/X.a-1b-c"},
                "same": {"$ref": "#/c/X.id-2"},
            },
        },
        "X.id": INTEGER,
        "X.properties.id": {"$ref": "#/c/X.id"},
        "X.a-1b-c": {"$ref": "#/c/X.id"},
        "X.id-2": STRING,
    }


def test_every_array_says_something_of_its_items() -> None:
    assert with_items(
        {"properties": {"a": {"type": "array"}, "b": {"items": {"type": "array"}}}}
    ) == {
        "properties": {
            "a": {"type": "array", "items": {}},
            "b": {"items": {"type": "array", "items": {}}},
        }
    }
    for said in ({"type": "array", "items": False}, {"type": "array", "unevaluatedItems": False},
                 {"const": {"type": "array"}}, {"type": ["array", "null"]}):  # fmt: skip
        assert with_items(said) == said


def test_references_move_but_what_only_looks_like_one_stays() -> None:
    data = {"$ref": "#/data"}
    schema = {
        "properties": {"a": {"$ref": "#"}, "default": {"$ref": "#/$defs/u"}, "$ref": True},
        "anyOf": [{"$ref": "#/$defs/u"}, True],
        "default": data, "const": data, "enum": [data], "examples": [data],
    }  # fmt: skip
    assert moved(schema, "#/x") == {
        **schema,
        "properties": {"a": {"$ref": "#/x"}, "default": {"$ref": "#/x/$defs/u"}, "$ref": True},
        "anyOf": [{"$ref": "#/x/$defs/u"}, True],
    }
    assert refers(schema)
    assert not refers({"default": data, "properties": {"$ref": {}}})


DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"$id": "http://a.test/u", "$schema": DRAFT_7, "type": "object"}, {"type": "object"}),
        ({"$defs": {"u": True}, "$ref": "#/$defs/u"}, {"$defs": {"u": True}, "$ref": "#/$defs/u"}),
        ({"properties": {"$id": INTEGER, "$anchor": INTEGER}},
         {"properties": {"$id": INTEGER, "$anchor": INTEGER}}),
        # What cannot be told elsewhere is told as anything.
        ({"$schema": DRAFT_7, "items": [INTEGER]}, {}),
        ({"$id": "http://a.test/u", "items": {"$ref": "u#/$defs/u"}}, {}),
        ({"$ref": "#u", "$defs": {"u": {"$anchor": "u"}}}, {}),
        ({"$defs": {"u": {"$id": "u"}}, "$ref": "u"}, {}),
        ({"items": {"$dynamicRef": "#u"}}, {}),
        # In old drafts a reference stands alone, whatever is written beside it.
        ({"$schema": DRAFT_7, "items": {"$ref": "#/definitions/u", "minimum": 5},
          "definitions": {"u": INTEGER}},
         {"items": {"$ref": "#/definitions/u"}, "definitions": {"u": INTEGER}}),
        ({"items": {"$ref": "#/$defs/u", "minimum": 5}, "$defs": {"u": INTEGER}},
         {"items": {"$ref": "#/$defs/u", "minimum": 5}, "$defs": {"u": INTEGER}}),
    ],
)  # fmt: skip
def test_schemas_are_told_as_they_can_be_elsewhere(schema: Any, told: Any) -> None:
    assert tellable(schema) == told
