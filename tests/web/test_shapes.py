from __future__ import annotations

from typing import Any

import jmespath
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError

from gateway.json_schema import compile_schema
from gateway.web.shapes import moved, nullable, refers, selected, tellable

USER = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "name": {"type": "string"},
        "posts": {
            "type": "array",
            "items": {"type": "object", "properties": {"id": {"type": "integer"}}},
        },
    },
}
NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("expression", "schema"),
    [
        ("@", USER),
        ("id", {"anyOf": [{"type": "integer"}, NULL]}),
        ("nope", {}),
        ("length(@)", {"type": "integer", "minimum": 0}),
        ("posts[0].id", {"anyOf": [{"type": "integer"}, NULL]}),
        ("posts[*].id", {"anyOf": [{"type": "array", "items": {"type": "integer"}}, NULL]}),
        ("posts[?id > `1`].id", {"anyOf": [{"type": "array", "items": {"type": "integer"}}, NULL]}),
        ("id == `1`", {"anyOf": [{"type": "boolean"}, NULL]}),
        ("[id, name]", {"anyOf": [{"type": "array", "minItems": 2, "maxItems": 2}, NULL]}),
        ("id || name", {}),
        (
            "{n: name}",
            {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {"n": {"anyOf": [{"type": "string"}, NULL]}},
                        "required": ["n"],
                    },
                    NULL,
                ]
            },
        ),
    ],
)
def test_infers(expression: str, schema: dict[str, Any]) -> None:
    assert selected(expression, USER) == schema


INTEGER = {"type": "integer"}
LISTS = {"type": "array", "items": INTEGER}


@pytest.mark.parametrize(
    ("expression", "schema", "inferred"),
    [
        # true and false are schemas, wherever one stands.
        ("a", True, {}),
        ("a", False, {}),
        ("a", {"properties": {"a": True}}, {}),
        ("a", {"properties": {"a": False}}, {"anyOf": [{"not": {}}, NULL]}),
        ("a", {"anyOf": [True]}, {}),
        ("a.b", {"properties": {"a": {"anyOf": [True, NULL]}}}, {}),
        ("[0]", {"items": True}, {}),
        ("[*].a", {"items": {"properties": {"a": True}}}, {"anyOf": [{"type": "array"}, NULL]}),
        # A type may be a list.
        ("[]", {"items": {"type": ["object", "null"]}},
         {"anyOf": [{"type": "array", "items": {"type": ["object", "null"]}}, NULL]}),
        ("[]", {"items": {"type": ["array", "null"]}}, {"anyOf": [{"type": "array"}, NULL]}),
        # Items are what is behind the prefix.
        ("[0]", {"prefixItems": [{"type": "string"}], "items": INTEGER}, {}),
        ("[*]", {"prefixItems": [{"type": "string"}], "items": INTEGER},
         {"anyOf": [{"type": "array"}, NULL]}),
        ("[1:]", {"prefixItems": [{"type": "string"}], "items": INTEGER},
         {"anyOf": [{"type": "array"}, NULL]}),
        ("avg(@)", LISTS, {"anyOf": [{"type": "number"}, NULL]}),
        ("max(@)", LISTS, {}),
        ("min_by(@, &@)", LISTS, {}),
        # References are followed, also in a circle, and stay as they are in what comes out.
        ("@", {"$ref": "#/$defs/u", "$defs": {"u": INTEGER}},
         {"$ref": "#/$defs/u", "$defs": {"u": INTEGER}}),
        ("a", {"properties": {"a": {"$ref": "#/$defs/u"}}, "$defs": {"u": INTEGER}},
         {"anyOf": [{"$ref": "#/$defs/u"}, NULL]}),
        ("a[0]", {"properties": {"a": {"$ref": "#/x~1y/1%25/~0"}}, "x/y": [{}, {}],
                  "$defs": {}}, {}),
        ("a[0]", {"properties": {"a": {"$ref": "#/allOf/0"}}, "allOf": [LISTS]},
         {"anyOf": [INTEGER, NULL]}),
        ("a[0]", {"properties": {"a": {"$ref": "#/$defs/x~1y%25"}}, "$defs": {"x/y%": LISTS}},
         {"anyOf": [INTEGER, NULL]}),
        ("a.a.a", {"properties": {"a": {"$ref": "#"}}}, {"anyOf": [{"$ref": "#"}, NULL]}),
        ("a", {"$ref": "#"}, {}),
        ("a", {"$ref": "#/$defs/u", "$defs": {"u": {"anyOf": [{"$ref": "#/$defs/u"}, NULL]}}}, {}),
        ("a", {"$ref": "#/nowhere"}, {}),
        ("a", {"$ref": "#u"}, {}),
    ],
)  # fmt: skip
def test_infers_from_every_form_of_schema(expression: str, schema: Any, inferred: Any) -> None:
    assert selected(expression, schema) == inferred


def test_references_lead_into_the_root() -> None:
    root = {"properties": {"a": LISTS}}
    assert selected("a", {"$ref": "#"}, root) == {"anyOf": [LISTS, NULL]}


def test_nullable_is_idempotent() -> None:
    once = nullable({"type": "string"})
    assert nullable(once) == once
    assert nullable({}) == nullable(True) == {}
    # With null in a branch alone null is none of it yet.
    beside = {"type": "object", "anyOf": [{"required": ["a"]}, NULL]}
    assert nullable(beside) == {"anyOf": [beside, NULL]}


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
    ],
)  # fmt: skip
def test_schemas_are_told_as_they_can_be_elsewhere(schema: Any, told: Any) -> None:
    assert tellable(schema) == told


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "name", "posts", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)
EXPRESSIONS = st.sampled_from(
    ["@", "id", "posts[*].id", "posts[0]", "posts[].id", "[:2].{a: id, b: name}", "[].id", "[*]",
     "{a: posts[*].x, b: id}", "[id, name]", "posts[?id].name", "posts | [0]", "x.id", "[0][1:]",
     "posts[*][]", "[][]", "*.id", "id == name", "!id", "posts[*].{a: id}[0]"]
)  # fmt: skip


@given(VALUES, EXPRESSIONS)
def test_the_inferred_schema_holds_for_every_value(value: Any, expression: str) -> None:
    assert compile_schema(selected(expression)).is_valid(jmespath.search(expression, value))


def _of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = st.dictionaries(st.sampled_from(["id", "name", "posts", "x"]), inner, max_size=3)
    return (
        st.builds(lambda properties: {"properties": properties}, members)
        | st.builds(lambda items: {"items": items}, inner)
        | st.builds(lambda first, items: {"prefixItems": [first], "items": items}, inner, inner)
        | st.builds(lambda branch: {"anyOf": [branch, NULL]}, inner)
        | st.builds(lambda *branches: {"anyOf": list(branches)}, inner, inner)
        | st.builds(lambda beside: {"$ref": "#/$defs/u", **beside}, st.just({}) | members)
    )


SCHEMAS = st.recursive(
    st.booleans()
    | st.sampled_from([INTEGER, {"type": ["integer", "array", "null"]}, {"type": ["object"]},
                       {"type": "array"}, {"$ref": "#/$defs/u"}, {"$ref": "#"}]),
    _of,
    max_leaves=6,
)  # fmt: skip
MORE = st.sampled_from(["avg(@)", "{a: avg(posts), b: max(x)}", "[*].avg(@)", "[0].[id]", "x[0].id",
                        "x[][]", "x[].{a: id}", "keys(@)", "posts[1:]", "x.x.x"])  # fmt: skip


@given(SCHEMAS, SCHEMAS, VALUES, EXPRESSIONS | MORE)
def test_the_inferred_schema_holds_for_every_value_of_a_schema(
    schema: Any, definition: Any, value: Any, expression: str
) -> None:
    root = {"allOf": [schema], "$defs": {"u": definition}}
    assume(compile_schema(root).is_valid(value))
    try:
        result = jmespath.search(expression, value)
    except JMESPathError:
        return
    # As in the document: the answer's schema stands elsewhere.
    for start in (root, schema):
        whole = {
            "root": moved(root, "#/root"),
            **moved(selected(expression, start, root), "#/root"),
        }
        assert compile_schema(whole).is_valid(result)
