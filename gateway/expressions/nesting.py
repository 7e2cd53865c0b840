"""Nesting: limits how many levels deep JSON may be, checked while it is serialised."""

from __future__ import annotations

from typing import Any

import orjson

__all__ = ["DEEPEST", "Frame", "has_few_brackets"]

DEEPEST = 200
"""Maximum levels of a value from any upstream. A document adds a few levels around it."""

_MOST_LEVELS = 254


class Frame:
    """Serialises values that are not nested too deep.

    orjson refuses to write more than 254 levels. Inside a frame of 254 - limit levels it therefore
    refuses values with more than `limit` levels, and the check needs no walk over the value in
    Python.

    Args:
        limit: maximum levels of a value, at most `DEEPEST`.
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
        """Return `value` as JSON, `None` where it is nested too deep."""
        self._inner[0] = value
        try:
            return orjson.dumps(self._outer)[self._levels : -self._levels]
        except TypeError:  # in a decoded value only the depth can cause it
            return None
        finally:
            self._inner[0] = None


def has_few_brackets(payload: bytes, limit: int) -> bool:
    """Whether a payload opens at most `limit` brackets, so that it is not nested deeper either.

    `replace` searches four times as fast as `count`, and stops at the limit.
    """
    size = len(payload)
    lists = size - len(payload.replace(b"[", b"", limit + 1))
    objects = size - len(payload.replace(b"{", b"", limit + 1))
    return lists + objects <= limit
