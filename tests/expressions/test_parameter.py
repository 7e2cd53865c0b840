from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.expressions.json_schema import SchemaError, compile_schema
from gateway.expressions.parameter import InvalidParameterError, ParameterError, compile_parameter


def read(schema: dict[str, Any], *texts: str, in_path: bool = False) -> Any:
    return compile_parameter("p", schema, in_path=in_path).read(texts)


@pytest.mark.parametrize(
    ("schema", "texts", "value"),
    [
        ({"type": "integer"}, ["-7"], -7),
        ({"type": "integer"}, ["007"], 7),
        ({"type": "number"}, ["1.5e3"], 1500.0),
        ({"type": "number"}, ["3"], 3),
        ({"type": "boolean"}, ["true"], True),
        ({"type": "boolean"}, ["false"], False),
        ({"type": "string"}, [""], ""),
        ({"type": "array"}, ["a", "b"], ["a", "b"]),
        ({"type": "array", "items": {"type": "integer"}}, ["1", "2"], [1, 2]),
        ({"type": "string", "enum": ["a", "b"]}, ["b"], "b"),
    ],
)
def test_text_becomes_a_value(schema: dict[str, Any], texts: list[str], value: Any) -> None:
    got = read(schema, *texts)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("schema", "texts"),
    [
        ({"type": "integer"}, ["1.5"]), ({"type": "integer"}, [""]), ({"type": "integer"}, ["٣"]),
        ({"type": "integer"}, ["1" * 301]), ({"type": "integer", "maximum": 5}, ["6"]),
        ({"type": "number"}, ["NaN"]), ({"type": "number"}, ["1e999"]), ({"type": "number"}, ["1_0"]),
        ({"type": "boolean"}, ["1"]), ({"type": "string", "maxLength": 1}, ["ab"]),
        ({"type": "string", "format": "email"}, ["x"]), ({"type": "string"}, ["a", "b"]),
        ({"type": "array", "maxItems": 1}, ["a", "b"]),
        ({"type": "array", "items": {"type": "integer"}}, ["a"]),
    ],
)  # fmt: skip
def test_what_does_not_meet_the_schema_is_refused(schema: dict[str, Any], texts: list[str]) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        read(schema, *texts)
    assert caught.value.parameter == "p"


@pytest.mark.parametrize("text", ["", ".", ".."])
def test_a_path_has_no_empty_or_dot_segments(text: str) -> None:
    assert read({"type": "string"}, text) == text
    with pytest.raises(InvalidParameterError, match="in a path"):
        read({"type": "string"}, text, in_path=True)


@pytest.mark.parametrize(
    ("schema", "in_path", "why"),
    [
        ({}, False, "`type` must be one of"),
        ({"type": "object"}, False, "`type` must be one of"),
        ({"type": ["integer", "null"]}, False, "`type` must be one of"),
        ({"type": "array", "items": {"type": "array"}}, False, "of its items"),
        ({"type": "array", "items": True}, False, "of its items"),
        ({"type": "array"}, True, "cannot be an array"),
        ({"type": "integer", "default": 1}, True, "always required"),
        ({"type": "integer", "required": False}, True, "always required"),
        ({"type": "integer", "required": "no"}, False, "`required` must be true or false"),
        ({"type": "integer", "default": "x"}, False, "default does not meet"),
        ({"type": "integer", "minimum": "x"}, False, "not a JSON Schema"),
        ({"type": "string", "pattern": "("}, False, "not a JSON Schema"),
        ({"$ref": "https://example.com/x"}, False, "not a JSON Schema"),
    ],
)
def test_declarations_that_cannot_be(schema: dict[str, Any], *, in_path: bool, why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        compile_parameter("p", schema, in_path=in_path)


def test_a_parameter_is_required_unless_it_has_a_default_or_says_so() -> None:
    def required(schema: dict[str, Any]) -> bool:
        return compile_parameter("p", schema, in_path=False).required

    assert required({"type": "string"})
    assert not required({"type": "string", "default": "a"})
    assert not required({"type": "string", "required": False})


@given(st.text())
def test_any_text_is_a_value_or_refused(text: str) -> None:
    for kind in ("integer", "number", "boolean", "string"):
        try:
            read({"type": kind}, text)
        except InvalidParameterError as error:
            assert str(error)


def test_schemas_refer_to_nothing_else_and_patterns_are_linear() -> None:
    assert compile_schema({"$defs": {"a": {"type": "integer"}}, "$ref": "#/$defs/a"}).is_valid(1)
    assert not compile_schema(False).is_valid(1)
    with pytest.raises(SchemaError, match=r"example\.com"):
        compile_schema({"$ref": "https://example.com/x"})
    with pytest.raises(SchemaError):
        compile_schema({"pattern": "(?=a)"})  # look-around needs a backtracking engine
    with pytest.raises(SchemaError) as caught:
        compile_schema({"type": "integr"})
    assert caught.value.location == ("type",)


def test_a_number_that_is_too_large_is_rejected() -> None:
    with pytest.raises(InvalidParameterError, match="is not a finite number"):
        read({"type": "number"}, "1e999")


@pytest.mark.parametrize(
    ("schema", "texts"),
    [
        ({"type": "string", "maxLength": 5}, ["x" * 60_000]),
        ({"type": "string", "pattern": "^a$"}, ['"' * 60_000]),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 3}, ["x"] * 20_000),
        ({"type": "array", "items": {"type": "string", "maxLength": 3}}, ["x" * 60_000]),
        ({"type": "integer", "maximum": 3}, ["9" * 300]),
    ],
)
def test_a_complaint_quotes_little_of_a_long_value(schema: Any, texts: list[str]) -> None:
    parameter = compile_parameter("p", schema, in_path=False)
    with pytest.raises(InvalidParameterError) as caught:
        parameter.read(texts)
    assert len(str(caught.value)) <= 120
