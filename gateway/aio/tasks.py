"""Tasks that never outlive whoever started them (structured concurrency)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

__all__ = ["end", "run_all"]

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
        # A bug in one ends the others: one of them may wait for what it would have brought.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:  # and it comes before the cancellations that it has led to
            if task.done() and not task.cancelled():
                task.result()
        return [task.result() for task in tasks]
    finally:
        await end(tasks)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel what still runs of `tasks`, and wait until it has ended.

    A further cancellation of the caller does not cut the wait short, as it does not for an
    `asyncio.TaskGroup`; it is raised when all have ended.
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
