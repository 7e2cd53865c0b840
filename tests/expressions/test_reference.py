from __future__ import annotations

from typing import Any

import pytest

from gateway.expressions.reference import TemplateError, parse_reference


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("s", {"a": [{"b": 1}, {"b": 2}], "n": None}),
        ("s.a[0].b", 1),
        ("s.a[-1].b", 2),
        ("s.a[5].b", None),
        ("s.a.b", None),
        ("s.x.y", None),
        ("s.n.y", None),
        ("s[0]", None),
        ("s.a[*].b", [1, 2]),
        ("s.a[].b", [1, 2]),
        ("t", None),
    ],
)
def test_a_reference_finds_its_value(text: str, value: Any) -> None:
    scope = {"s": {"a": [{"b": 1}, {"b": 2}], "n": None}}
    assert parse_reference(text).find(scope) == value


@pytest.mark.parametrize(
    "text",
    ["", "1", "a.", "a..b", "a[", "a[x]", "a b", "a[*][\u0663]", "a[\u0663]", f"a[{'9' * 5000}]"],
)
def test_an_invalid_reference_is_reported(text: str) -> None:
    with pytest.raises(TemplateError, match="is not a reference"):
        parse_reference(text, 3)


@pytest.mark.parametrize("lists", ["[*]", "[]"])
def test_a_reference_through_too_many_lists_is_reported(lists: str) -> None:
    value: Any = 1
    for _ in range(64):
        value = [value]
    assert parse_reference("s" + "[*]" * 64).find({"s": value}) is not None
    assert parse_reference("s" + lists * 64).find({"s": []}) == []
    with pytest.raises(TemplateError, match="goes through more than 64 lists"):
        parse_reference("s" + lists * 65)
    with pytest.raises(TemplateError, match="goes through more than 64 lists"):
        parse_reference("s" + lists * 5000)


def test_a_reference_may_take_any_number_of_other_steps() -> None:
    value: Any = 1
    for _ in range(1000):
        value = {"a": [value]}
    assert parse_reference("s[*]" + ".a[0]" * 1000).find({"s": [value, {}]}) == [1]
