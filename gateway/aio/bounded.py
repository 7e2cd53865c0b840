"""Ending what a client library does, although it may not listen.

`patiently` is a timeout that does not blame a server for a busy event loop. A plain timeout of
40 ms fires when the loop itself was kept busy for 40 ms, although the answer has long been waiting
in the socket. Here the time is counted in slices that the loop has to live through one after the
other: a stall uses up one slice, a silent server uses up all of them.

Both functions cancel until it helps: a cancellation that falls into an `asyncio.wait_for` just as
that is done is lost (before Python 3.12), and redis-py sends within one.
"""

from __future__ import annotations

from asyncio import CancelledError, current_task, get_running_loop, wait
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from asyncio import Task, TimerHandle
    from collections.abc import Awaitable, Iterable

__all__ = ["end", "patiently"]

T = TypeVar("T")

_SLICES = 5
_AGAIN = 0.1


async def end(tasks: Iterable[Task[Any]]) -> None:
    """Cancel `tasks` and return when all are gone."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await wait(left, timeout=_AGAIN)


async def patiently(work: Awaitable[T], seconds: float) -> T:
    """Return what `work` comes to.

    Raises:
        TimeoutError: it did not in `seconds` in which the event loop was free to notice.
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
    _only_ours(task, cancels, before)  # it has ended in spite of them
    return result


def _only_ours(task: Task[Any], cancels: int, before: int) -> bool:
    """Take `cancels` back; whether there were any, and no others."""
    for _ in range(cancels):
        task.uncancel()
    return cancels > 0 and task.cancelling() <= before
