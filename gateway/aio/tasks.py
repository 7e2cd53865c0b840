"""Tasks that never outlive their caller (structured concurrency)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

__all__ = ["cancel_and_wait", "cancel_until_gone", "run_all"]

_CANCEL_AGAIN = 0.1

T = TypeVar("T")


async def run_all(
    loop: asyncio.AbstractEventLoop, coroutines: list[Coroutine[Any, Any, T]]
) -> list[T]:
    """Run all at once and return their results in order."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    if not coroutines:
        return []
    tasks = [loop.create_task(coroutine) for coroutine in coroutines]
    try:
        # A bug in one task ends the others: another one may wait for its result.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:  # raise the bug rather than the cancellations that it caused
            if task.done() and not task.cancelled():
                task.result()
        return [task.result() for task in tasks]
    finally:
        await cancel_and_wait(tasks)


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks that still run, and wait until they have ended.

    As in an `asyncio.TaskGroup`, a cancellation of the caller does not cut the wait short; it is
    raised when all tasks have ended.
    """
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    cancelled = None
    while running:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as error:
            cancelled = error
        running = [task for task in running if not task.done()]
    if cancelled is not None:
        raise cancelled


async def cancel_until_gone(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` repeatedly until they have ended.

    For tasks that run redis-py: it sends within `asyncio.wait_for`, which before Python 3.12 loses
    a cancellation that arrives at the moment it completes.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN)
