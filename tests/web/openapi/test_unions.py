from __future__ import annotations

from typing import Any

import pytest

from gateway.web.openapi.schema import NEVER
from gateway.web.openapi.unions import any_of, distinct, is_looser

INTEGER = {"type": "integer"}
STRING = {"type": "string"}


def test_branches_are_distinct_and_anything_replaces_them_all() -> None:
    assert list(distinct([STRING, {"anyOf": [STRING, INTEGER]}, NEVER]).values()) == [
        STRING,
        INTEGER,
    ]
    assert list(distinct([STRING, {}]).values()) == [{}]


def test_a_union_of_nothing_is_never_and_of_one_is_that_one() -> None:
    assert any_of({}) == NEVER
    assert any_of(distinct([STRING])) == STRING
    assert any_of(distinct([{"type": "null"}, STRING])) == {"anyOf": [STRING, {"type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "than", "looser"),
    [
        (STRING, {"type": "string", "minLength": 1}, True),
        ({"type": "string", "minLength": 1}, STRING, False),
        ({"type": "number"}, INTEGER, True),
        (INTEGER, {"type": "number"}, False),
        ({"type": "array"}, {"type": "array", "items": STRING}, False),
        ({"type": "string", "title": "A"}, STRING, True),
    ],
)
def test_only_a_schema_with_fewer_constraints_is_looser(
    schema: Any, than: Any, looser: bool
) -> None:
    assert is_looser(schema, than) is looser
