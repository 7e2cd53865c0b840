from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.errors import ExpressionFailed
from gateway.worker.jobs import RefusedError, run

SCHEMA = {"type": "array", "items": {"type": "object", "required": ["k"]}}
BODY = b'[{"k":3,"n":"c"},{"k":1,"n":"a"},{"k":2,"n":"b"}]'


def admit(body: bytes, **options: Any) -> tuple[dict[str, Any], list[bytes]]:
    head = {"job": "admit", "max_depth": 3, "max_bytes": 1000, "schema": None, "codec": ""}
    return run(head | options, body)


def shape(body: bytes = BODY, **options: Any) -> tuple[dict[str, Any], list[bytes]]:
    head: dict[str, Any] = {
        "job": "shape",
        "schema": None,
        "base": None,
        "select": None,
        "reads": [],
        "whole": False,
    }
    return run(head | options, body)


def test_a_payload_is_written_anew() -> None:
    assert admit(b'{"a": 1, "a": [2]}') == ({}, [b'{"a":[2]}'])
    assert admit('"\xe9"'.encode("latin-1"), codec="latin_1") == ({}, ['"\xe9"'.encode()])


@pytest.mark.parametrize(
    ("body", "options", "why"),
    [
        (b"NaN", {}, "not strict JSON"),
        (b"[[[[1]]]]", {}, "3 levels"),
        (b"{}", {"schema": SCHEMA}, "does not meet its schema"),
        (b"[{}]", {"schema": SCHEMA}, "at /0"),
        (b"\xff", {"codec": "gbk"}, "charset"),
    ],
)
def test_a_payload_that_is_not_let_in_is_refused(
    body: bytes, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(RefusedError, match=why):
        admit(body, **options)


def test_a_payload_is_shaped_twice_once_for_references_and_once_to_be_shown() -> None:
    said, parts = shape(
        base="sort_by(@, &k)",
        select="[].n",
        reads=[["s[0].k", None], ["s[*].n", 2], ["s", 1], ["s.nope", None], ["s[1].k", 5]],
        whole=True,
    )
    data, whole, *reads = [orjson.loads(part) for part in parts]
    assert data == ["a", "b", "c"]
    assert [element["k"] for element in whole] == [1, 2, 3]
    assert reads == [1, ["a", "b"], [{"k": 1, "n": "a"}], None, 2]
    assert said == {"null": False, "totals": [None, 3, 3, None, None]}


def test_parts_that_were_not_asked_for_are_empty() -> None:
    assert shape() == ({"null": False, "totals": []}, [b"", b""])
    assert shape(base="nope", whole=True) == ({"null": True, "totals": []}, [b"null", b"null"])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"schema": {"type": "object"}}, "does not meet its schema"),
        ({"select": "to_number('9999999999999999999999')"}, "the shaped value is not JSON"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        shape(**options)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"select": "length([0].k)"}, "length() takes string or array or object, not number"),
        ({"base": "join('', @)"}, "join() takes array-string, not dict"),
    ],
)
def test_an_expression_that_cannot_take_the_value_names_its_key(
    options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        shape(**options)
    assert caught.value.detail == f"`select` failed: {why}"
    with pytest.raises(ExpressionFailed, match="^`when` failed: length"):
        run({"job": "judge", "expression": "length(a)"}, b'{"a":1}')


@pytest.mark.parametrize(
    ("expression", "true"), [("a.b", True), ("a.c", False), ("length(a) > `0`", True)]
)
def test_a_condition_is_judged(expression: str, true: bool) -> None:
    assert run({"job": "judge", "expression": expression}, b'{"a":{"b":0}}') == ({"true": true}, [])


def test_a_list_is_split_into_lists_of_few_elements() -> None:
    elements = [{"id": number, "x": "x" * 100} for number in range(2000)]
    _, parts = run({"job": "split"}, orjson.dumps(elements))
    assert len(parts) > 2
    assert max(map(len, parts)) < 70_000
    assert [element for part in parts for element in orjson.loads(part)] == elements
    with pytest.raises(RefusedError, match="must be a list"):
        run({"job": "split"}, b"{}")
