"""A timeout that does not blame a server for a busy event loop.

A plain timeout of 40 ms fires when the loop itself was busy for 40 ms, even if the answer is
already in the socket. This one splits the time into slices that the loop must run one after the
other: a stalled loop uses up one slice, a silent server all of them.

The work is cancelled again at every further slice: before Python 3.12 a cancellation that arrives
in `asyncio.wait_for` at the moment it completes is lost, and redis-py sends within one.
"""

from __future__ import annotations

from asyncio import CancelledError, current_task, get_running_loop
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from asyncio import Task, TimerHandle
    from collections.abc import Awaitable

__all__ = ["bounded"]

T = TypeVar("T")

_SLICES = 5


async def bounded(work: Awaitable[T], seconds: float) -> T:
    """Return the result of `work`.

    Raises:
        TimeoutError: `work` did not end in `seconds`, not counting stalls of the event loop.
    """
    loop, task = get_running_loop(), current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in a task
    before = task.cancelling()
    slices = cancels = 0
    handle: TimerHandle

    def tick() -> None:
        nonlocal slices, cancels, handle
        slices += 1
        if slices >= _SLICES:
            cancels += 1
            task.cancel()
        handle = loop.call_later(seconds / _SLICES, tick)

    handle = loop.call_later(seconds / _SLICES, tick)
    try:
        result = await work
    except CancelledError:
        handle.cancel()
        if _only_ours(task, cancels, before):
            raise TimeoutError from None
        raise
    finally:
        handle.cancel()
    _only_ours(task, cancels, before)  # the work ended in spite of the cancellations
    return result


def _only_ours(task: Task[Any], cancels: int, before: int) -> bool:
    """Undo `cancels`; return whether there were any, and none from elsewhere."""
    for _ in range(cancels):
        task.uncancel()
    return cancels > 0 and task.cancelling() <= before
