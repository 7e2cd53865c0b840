"""A timeout that does not blame a server for a busy event loop.

A plain timeout of 50 ms fires when the loop itself was kept busy for 50 ms, although the answer has
long been waiting in the socket. Here the time is counted in slices that the loop has to live
through one after the other: a stall uses up one slice, a silent server uses up all of them.
"""

from __future__ import annotations

from asyncio import CancelledError, current_task, get_running_loop
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Awaitable

__all__ = ["patiently"]

T = TypeVar("T")

_SLICES = 5


async def patiently(work: Awaitable[T], seconds: float) -> T:
    """Return what `work` comes to.

    Raises:
        TimeoutError: it did not in `seconds` in which the event loop was free to notice.
    """
    loop, task = get_running_loop(), current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    before = task.cancelling()
    left = _SLICES
    handle: TimerHandle | None = None

    def tick() -> None:
        nonlocal left, handle
        left -= 1
        if left:
            handle = loop.call_later(seconds / _SLICES, tick)
        else:
            task.cancel()

    handle = loop.call_later(seconds / _SLICES, tick)
    try:
        return await work
    except CancelledError:
        if not left and task.uncancel() <= before:
            raise TimeoutError from None
        raise
    finally:
        handle.cancel()
