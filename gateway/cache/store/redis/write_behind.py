"""Background writes to the shared store: answers never wait for them; excess ones are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.aio.batching import Batcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.cache.store.redis.commands import Commands
    from gateway.cache.store.redis.connection import Connection

__all__ = ["Write", "WriteBehind"]

Write = "Callable[[Commands], Awaitable[Any]]"
"""Adds its command to a store that collects commands."""

_PATIENCE = 0.25
_BYTES = 32 * 1024 * 1024
_WAITING = 1024


class WriteBehind:
    """Sends writes in order, one pipeline at a time."""

    __slots__ = ("_batches", "_bytes", "_link")

    def __init__(self, link: Connection) -> None:
        self._link = link
        self._bytes = 0
        self._batches: Batcher[Callable[[Commands], Awaitable[Any]], None] = Batcher(
            self._run, None, lanes=1, limit=_WAITING
        )

    def submit(self, write: Callable[[Commands], Awaitable[Any]], size: int = 0) -> bool:
        """Queue `write`, unless the server is unusable or the queue is full.

        Args:
            write: adds its command to the given store.
            size: bytes that it holds until then.

        Returns:
            Whether it was queued.
        """
        if not self._link.writable or self._bytes + size > _BYTES:
            return False
        self._bytes += size
        self._batches.submit(write).add_done_callback(lambda _: self._done(size))
        return True

    async def drain(self) -> None:
        """Wait until everything is written."""
        await self._batches.drain()

    async def aclose(self) -> None:
        """Drop the queued writes."""
        await self._batches.aclose()

    def _done(self, size: int) -> None:
        self._bytes -= size

    async def _run(self, writes: list[Callable[[Commands], Awaitable[Any]]]) -> Sequence[None]:
        async def send(store: Commands) -> list[Any]:
            collected = store.collected()
            for write in writes:
                await write(collected)
            return await collected.execute()

        for answer in await self._link.ask(send, _PATIENCE) or ():
            if isinstance(answer, Exception):
                self._link.judge(answer)
        return ()
