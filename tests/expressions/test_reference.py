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
