from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.expressions.nesting import DEEPEST, Frame


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
