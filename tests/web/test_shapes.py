from __future__ import annotations

from typing import Any

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.json_schema import compile_schema
from gateway.web.shapes import nullable, selected

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


def test_nullable_is_idempotent() -> None:
    once = nullable({"type": "string"})
    assert nullable(once) == once
    assert nullable({}) == {}


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
