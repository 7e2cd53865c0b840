"""Batcher: items submitted in one iteration of the event loop share one round trip."""

from __future__ import annotations

import logging
from asyncio import Future, Task, get_running_loop, wait
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.aio.tasks import cancel_until_gone

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["Batcher"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger("gateway.store")


class Batcher(Generic[Item, Result]):
    """Collects items and runs them in batches, a bounded number of batches at once.

    The first item of an idle batcher waits only for the end of the loop's iteration; while all
    lanes are busy, items queue for the next batch.

    Args:
        run: runs a batch; returns one result for each item.
        nothing: the result of an item on overload, or when `run` raised.
        lanes: concurrent batches.
        size: maximum items in a batch.
        limit: maximum items that wait; more get `nothing` at once.
    """

    __slots__ = (
        "_lanes",
        "_limit",
        "_nothing",
        "_run",
        "_running",
        "_scheduled",
        "_size",
        "_waiting",
    )

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[Sequence[Result]]],
        nothing: Result,
        *,
        lanes: int = 2,
        size: int = 64,
        limit: int = 4096,
    ) -> None:
        self._run = run
        self._nothing = nothing
        self._lanes = lanes
        self._size = size
        self._limit = limit
        self._waiting: list[tuple[Item, Future[Result]]] = []
        self._running: set[Task[None]] = set()
        self._scheduled = False

    def submit(self, item: Item) -> Future[Result]:
        """Return a future of the item's result; it never holds an exception."""
        loop = get_running_loop()
        future: Future[Result] = loop.create_future()
        if len(self._waiting) >= self._limit:
            future.set_result(self._nothing)
            return future
        self._waiting.append((item, future))
        if not self._scheduled and len(self._running) < self._lanes:
            self._scheduled = True
            loop.call_soon(self._start)
        return future

    async def drain(self) -> None:
        """Wait until no item is queued or running."""
        while self._waiting or self._running:
            if self._running:
                await wait(self._running)
            else:
                self._start()

    async def aclose(self) -> None:
        """Cancel the running batches; queued items get `nothing`."""
        waiting, self._waiting = self._waiting, []
        self._settle(waiting, ())
        await cancel_until_gone(self._running)

    def _start(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._running) < self._lanes:
            batch = self._waiting[: self._size]
            del self._waiting[: self._size]
            task = get_running_loop().create_task(self._go(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: Task[None]) -> None:
        self._running.discard(task)
        self._start()

    async def _go(self, batch: list[tuple[Item, Future[Result]]]) -> None:
        results: Sequence[Result] = ()
        try:
            results = await self._run([item for item, _ in batch])
        except Exception:
            _log.exception("a batch of store commands failed")
        finally:
            self._settle(batch, results)

    def _settle(self, batch: list[tuple[Item, Future[Result]]], results: Sequence[Result]) -> None:
        for index, (_, future) in enumerate(batch):
            if not future.done():  # the waiting caller may have been cancelled
                future.set_result(results[index] if index < len(results) else self._nothing)
