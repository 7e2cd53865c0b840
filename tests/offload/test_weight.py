from __future__ import annotations

import pytest

from gateway.offload import MANY, values_in


@pytest.mark.parametrize(
    ("body", "values"),
    [(b"1", 0), (b"[]", 1), (b"[1,2,3]", 3), (b'{"a":{"b":1},"c":[2]}', 4), (b'"' + b"x" * 9 + b'"', 0)],
)  # fmt: skip
def test_commas_and_brackets_tell_how_many_values_there_are(body: bytes, values: int) -> None:
    assert values_in(body) == values


def test_a_value_across_two_steps_is_counted_once() -> None:
    assert values_in(b"[" + b"1" * (64 * 1024 - 1) + b",2]") == 2


def test_counting_stops_once_there_are_many() -> None:
    dense = b"[" + b"1," * (4 * MANY) + b"1]"
    assert MANY < values_in(dense) < 2 * MANY
