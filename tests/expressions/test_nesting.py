from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.expressions.nesting import DEEPEST, Frame, has_few_brackets


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("limit", [1, 64, DEEPEST])
def test_a_frame_writes_what_is_not_too_deep_and_nothing_else(limit: int) -> None:
    frame = Frame(limit)
    for levels in (0, 1, limit - 1, limit):
        assert frame.write(nested(levels)) == orjson.dumps(nested(levels))
    assert frame.write(nested(limit + 1)) is None
    assert frame.write(nested(limit)) == orjson.dumps(nested(limit))


@pytest.mark.parametrize("limit", [1, 64])
def test_a_payload_with_few_brackets_is_not_nested_deeper(limit: int) -> None:
    assert has_few_brackets(b"1", limit)
    assert has_few_brackets(orjson.dumps(nested(limit)), limit)
    assert not has_few_brackets(orjson.dumps(nested(limit + 1)), limit)
    assert not has_few_brackets(b"[" * 1000 * limit, limit)
