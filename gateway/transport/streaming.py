"""The body of an answer, as httpx takes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from gateway.transport.inflate import Inflater

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.transport.connection import Connection
    from gateway.transport.pool import Pool

__all__ = ["AnswerStream"]


class AnswerStream(httpx.AsyncByteStream):
    """Streams a body as it comes, still in its content coding.

    httpx inflates without a bound, so each piece is inflated here first to see what it would
    become; it is passed on only inside the bound, in pieces that inflate to 256 KiB or less.
    """

    def __init__(self, pool: Pool, connection: Connection, coding: bytes, bound: int) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._guard = Inflater(coding, bound) if coding else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces.

        Raises what the exchange fails with, and `httpx.DecodingError` for content that cannot be
        inflated inside the bound.
        """
        connection = self._connection
        if connection is None:
            raise httpx.StreamClosed
        while True:
            pieces = connection.take()
            for piece in pieces:
                if self._guard is None:
                    yield bytes(piece)
                else:
                    async for part in _guarded(self._guard, piece):
                        yield part
            if pieces:
                # More may have come while these were taken, and nobody was waiting for it.
                continue
            if connection.complete:
                break
            await connection.more()
        if self._guard is not None:
            self._guard.finish()

    async def aclose(self) -> None:
        """Give the connection back; one with bytes still to come is closed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)


async def _guarded(guard: Inflater, data: bytes | bytearray) -> AsyncIterator[bytes]:
    """Yield `piece` in parts that have been seen to inflate to little."""
    piece = bytes(data)
    start = 0
    for used, _ in guard.slices(piece):
        if used:
            yield piece[start : start + used]
        start += used
        await asyncio.sleep(0)
    if start < len(piece):
        yield piece[start:]
