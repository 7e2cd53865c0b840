"""pydantic's errors as diagnostics, by models made for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError, model_validator

from gateway.config.diagnostics import diagnostics_of
from gateway.config.models import JsonSchema
from gateway.errors import Diagnostic


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    width: int = 1
    color: Literal["red", "green"] = "red"


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner = Inner()
    either: int | Literal["many"] = 1
    shape: str | Inner = "flat"
    by_name: dict[Annotated[str, Field(pattern="^[a-z]+$")], Inner] = {}
    items: Annotated[list[str | Inner], Field(max_length=2)] = []
    rate: float = 1.0
    on: bool = True
    size: ByteSize = ByteSize(1)
    kinds: set[str] = set()
    path: Annotated[str, Field(pattern="^/")] = "/"
    answer: JsonSchema = {}
    other: Annotated[int, Field(alias="as")] = 1

    @model_validator(mode="after")
    def _no_bob(self) -> Whole:
        if self.name == "bob":
            raise ValueError("bob is not a valid name")
        return self


def told(raw: dict[str, Any]) -> list[Diagnostic]:
    with pytest.raises(ValidationError) as caught:
        Whole.model_validate(raw)
    return diagnostics_of(caught.value, Whole, raw, ("at",))


def one(**members: Any) -> Diagnostic:
    (diagnostic,) = told({"name": "n", **members})
    return diagnostic


@pytest.mark.parametrize(
    ("members", "message", "location"),
    [
        ({"inner": 5}, "should be a mapping", ("inner",)),
        ({"inner": {"width": "x"}}, "should be an integer", ("inner", "width")),
        ({"inner": {"width": 1.5}}, "should be an integer", ("inner", "width")),
        ({"inner": {"color": "gren"}}, "should be 'red' or 'green', did you mean green?",
         ("inner", "color")),
        ({"inner": {"color": "blue-ish"}}, "should be 'red' or 'green'", ("inner", "color")),
        ({"either": "lots"}, "should be an integer or 'many'", ("either",)),
        ({"shape": 5}, "should be a valid string or a mapping", ("shape",)),
        ({"items": 5}, "should be a list", ("items",)),
        ({"items": ["a", "b", "c"]}, "list should have at most 2 items, not 3", ("items",)),
        ({"items": ["a", 5]}, "should be a valid string or a mapping", ("items", 1)),
        ({"by_name": 5}, "should be a mapping", ("by_name",)),
        ({"rate": "x"}, "should be a number", ("rate",)),
        ({"on": "perhaps"}, "should be true or false", ("on",)),
        ({"on": []}, "should be true or false", ("on",)),
        ({"kinds": 5}, "should be a list", ("kinds",)),
        ({"path": "x"}, "should start with /", ("path",)),
        ({"name": "bob"}, "bob is not a valid name", ()),
        ({"answer": {"properties": {"x": {"type": "strin"}}}},
         'is not a valid JSON Schema: "strin" is not valid under any of the schemas listed in the '
         "'anyOf' keyword", ("answer", "properties", "x", "type")),
    ],
)  # fmt: skip
def test_a_value_is_told_at_its_place(
    members: dict[str, Any], message: str, location: tuple[str | int, ...]
) -> None:
    assert one(**members) == Diagnostic(message, ("at", *location))


@pytest.mark.parametrize("size", ["lots", "5 parsecs", [1]])
def test_sizes_are_told_how_to_be_written(size: Any) -> None:
    assert one(size=size).location == ("at", "size")


@pytest.mark.parametrize(
    ("members", "message", "location"),
    [
        ({"nam": 1, "inner": {}}, "unknown key nam", ("nam",)),
        ({"inner": {"widht": 1}}, "unknown key widht, did you mean width?", ("inner", "widht")),
        ({"shape": {"colr": "red"}}, "unknown key colr, did you mean color?", ("shape", "colr")),
        ({"items": [{"zzz": 1}]}, "unknown key zzz; there is color, width", ("items", 0, "zzz")),
        ({"by_name": {"a": {"wide": 1}}}, "unknown key wide, did you mean width?",
         ("by_name", "a", "wide")),
        ({"a": 1}, "unknown key a, did you mean as?", ("a",)),  # by its alias, as it is written
        ({"by_name": {"A": {}}}, "use only letters, digits and _ in a name, no digit first",
         ("by_name", "A")),
    ],
)  # fmt: skip
def test_a_key_is_told_as_a_key(
    members: dict[str, Any], message: str, location: tuple[str | int, ...]
) -> None:
    diagnostic = one(**members)
    assert diagnostic.at_key
    assert diagnostic.location == ("at", *location)
    assert diagnostic.message.startswith(message)


def test_what_is_missing_is_told_where_it_should_be() -> None:
    assert told({}) == [Diagnostic("name is missing", ("at",), at_key=True)]


def test_a_misspelt_key_is_not_missing_too() -> None:
    (diagnostic,) = told({"nmae": "n"})
    assert diagnostic.message == "unknown key nmae, did you mean name?"
    assert {f.message.partition(";")[0] for f in told({"zzzzz": 1})} == {
        "name is missing", "unknown key zzzzz",
    }  # fmt: skip


def test_every_mistake_is_told() -> None:
    diagnostics = told(
        {"inner": {"width": "x", "nope": 1}, "rate": "y", "items": [1, {"width": []}]}
    )
    assert {f.location[1:] for f in diagnostics} == {
        (), ("inner", "width"), ("inner", "nope"), ("rate",), ("items", 0), ("items", 1, "width"),
    }  # fmt: skip


def test_of_a_union_the_branch_that_got_further_is_meant() -> None:
    (diagnostic,) = told({"name": "n", "shape": {"width": "x"}})
    assert diagnostic == Diagnostic("should be an integer", ("at", "shape", "width"))
