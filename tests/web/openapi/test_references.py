from __future__ import annotations

from typing import Any

import pytest

from gateway.web.openapi.references import hoisted, moved, refers, target, tellable, with_items

INTEGER = {"type": "integer"}
STRING = {"type": "string"}


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


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("#", {"$defs": {"a/b": INTEGER}, "anyOf": [STRING]}),
        ("#/$defs/a~1b", INTEGER),
        ("#/anyOf/0", STRING),
        ("#/anyOf/1", {}),
        ("#/$defs/nowhere", {}),
        ("other#/$defs/a", {}),
    ],
)
def test_a_pointer_leads_to_its_target_or_to_anything(reference: str, found: Any) -> None:
    assert target({"$defs": {"a/b": INTEGER}, "anyOf": [STRING]}, reference) == found
