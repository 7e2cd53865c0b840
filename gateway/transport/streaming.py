"""The streamed body of an answer, for `httpx.AsyncClient`."""

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
    """Streams a body as it arrives, not inflated.

    httpx inflates without a bound, so each piece is inflated here first to learn its size. It is
    passed on only within the bound, in pieces that inflate to at most 256 KiB.
    """

    def __init__(self, pool: Pool, connection: Connection, coding: bytes, bound: int) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._guard = Inflater(coding, bound) if coding else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body's pieces.

        Raises the failure of the exchange, and `httpx.DecodingError` for content that cannot be
        inflated within the bound.
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
                # More may have arrived while the consumer took these.
                continue
            if connection.complete:
                break
            await connection.more()
        if self._guard is not None:
            self._guard.finish()

    async def aclose(self) -> None:
        """Release the connection; it is closed if the body is incomplete."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)


async def _guarded(guard: Inflater, data: bytes | bytearray) -> AsyncIterator[bytes]:
    """Yield `data` in parts that inflate to at most a slice each."""
    piece = bytes(data)
    start = 0
    for used, _ in guard.slices(piece):
        if used:
            yield piece[start : start + used]
        start += used
        await asyncio.sleep(0)
    if start < len(piece):
        yield piece[start:]
