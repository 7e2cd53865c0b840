"""Waiting for what real servers and processes do, without judging how long it takes.

The machine that runs the tests may be busy with anything. A test waits for a condition, however
long that takes, and judges order and counts; the bound here only ends a test that would hang.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["at_once", "until", "until_blocking", "until_found"]

T = TypeVar("T")

_HANGS = 90.0
_AGAIN = 0.005


async def until(condition: Callable[[], Any]) -> None:
    """Wait until `condition` holds."""
    ends = time.monotonic() + _HANGS
    while not condition():
        assert time.monotonic() < ends, "it did not come to pass"
        await asyncio.sleep(_AGAIN)


async def until_found(find: Callable[[], Awaitable[T | None]]) -> T:
    """Call `find` until it finds something, and return that."""
    ends = time.monotonic() + _HANGS
    while (found := await find()) is None:
        assert time.monotonic() < ends, "it was not found"
        await asyncio.sleep(_AGAIN)
    return found


def until_blocking(condition: Callable[[], Any]) -> None:
    """Wait until `condition` holds, in a test without an event loop."""
    ends = time.monotonic() + _HANGS
    while not condition():
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(_AGAIN)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` comes to; it must get there without waiting for anything."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise AssertionError("it waits")
