"""Nesting: how many levels deep JSON may be, checked while it is written."""

from __future__ import annotations

from typing import Any

import orjson

__all__ = ["DEEPEST", "Frame"]

DEEPEST = 200
"""Levels of the deepest value that any upstream may send. A document has room around it."""

_MOST_LEVELS = 254


class Frame:
    """Writes values that do not nest too deep.

    orjson refuses to write more than 254 levels. Inside a frame of 254 - limit levels it so refuses
    what has more than `limit` of its own, and the check costs no walk over the value in Python.

    Args:
        limit: levels that a value may have, `DEEPEST` at most.
    """

    __slots__ = ("_inner", "_levels", "_outer")

    def __init__(self, limit: int) -> None:
        self._levels = _MOST_LEVELS - limit
        self._inner: list[Any] = [None]
        outer: list[Any] = self._inner
        for _ in range(self._levels - 1):
            outer = [outer]
        self._outer = outer

    def write(self, value: Any) -> bytes | None:
        """Return `value` as JSON, `None` where it has more levels than there is room for."""
        self._inner[0] = value
        try:
            return orjson.dumps(self._outer)[self._levels : -self._levels]
        except TypeError:  # a decoded value has nothing else that it could complain of
            return None
        finally:
            self._inner[0] = None
