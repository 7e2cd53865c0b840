from __future__ import annotations

from typing import Any

import pytest

from gateway.expressions.parameter import compile_parameter
from gateway.expressions.reference import ABSENT
from gateway.web.parameters import InvalidRequestError, RequestParameters

PARAMETERS = RequestParameters(
    [
        compile_parameter("id", {"type": "integer", "minimum": 1}, in_path=True),
        compile_parameter("q", {"type": "string", "minLength": 2}, in_path=False),
        compile_parameter("n", {"type": "number", "default": 5}, in_path=False),
        compile_parameter("o", {"type": "boolean", "required": False}, in_path=False),
        compile_parameter(
            "city", {"type": "array", "items": {"type": "string"}, "required": False}, in_path=False
        ),
    ]
)


def read(path: str, query: bytes) -> dict[str, Any]:
    return PARAMETERS.read([("id", path)], query)


def test_reads_path_query_defaults_and_absent_ones() -> None:
    assert read("7", b"q=ab") == {"id": 7, "q": "ab", "n": 5, "o": ABSENT, "city": ABSENT}


def test_arrays_repeat_and_plus_is_a_space() -> None:
    values = read("7", b"q=a+b%20c&city=London&city=New+York&city=%C3%84")
    assert values["q"] == "a b c"
    assert values["city"] == ["London", "New York", "Ä"]


def test_what_is_not_declared_is_ignored() -> None:
    assert read("7", b"q=ab&utm=1&%FF=2&flag")["q"] == "ab"


@pytest.mark.parametrize(
    ("path", "query", "problems"),
    [
        ("x", b"q=ab", [("id", "is not an integer")]),
        ("0", b"", [("id", "0 is less than the minimum of 1"), ("q", "is required")]),
        ("1", b"q=ab&q=cd", [("q", "is given more than once")]),
        ("1", b"q=ab&n=x", [("n", "is not a number")]),
        ("1", b"q=ab&o=yes", [("o", "is neither true nor false")]),
        ("1", b"q=%FF", [("q", "is not UTF-8")]),
        ("1", b"q=%FF&q=%FE&n=%FF&q=%FF", [("q", "is not UTF-8"), ("n", "is not UTF-8")]),
    ],
)
def test_tells_everything_that_is_wrong(
    path: str, query: bytes, problems: list[tuple[str, str]]
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read(path, query)
    assert caught.value.problems == problems
