"""Sends an answer over ASGI: in one piece, or as a stream while it is made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Send

    from gateway.web.fields import Fields

__all__ = ["AsgiOutlet"]

_ENOUGH = 64 * 1024
"""Bytes that wait for the server; with more of them the client counts as one that does not read."""


class AsgiOutlet:
    """The answer to one request: `respond` and `begin` are what an endpoint calls.

    What is written waits until `forward` has sent what was written before, so a server that waits
    for its client takes what has come together since in one piece.
    """

    __slots__ = ("_ended", "_fields", "_parts", "_size", "_status", "_wake", "resumed")

    def __init__(self) -> None:
        self._status = 0
        self._fields: Fields | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self.resumed: Callable[[], None] | None = None
        self._wake: asyncio.Future[None] | None = None

    def respond(self, status: int, fields: Fields, body: bytes) -> None:
        """Answer in one piece."""
        if self._fields is None:
            self.begin(status, fields, body).end()

    def begin(self, status: int, fields: Fields, data: bytes) -> AsgiOutlet:
        """Begin an answer that is a stream."""
        self._status = status
        self._fields = fields
        self._add(data)
        return self

    @property
    def paused(self) -> bool:
        """Whether much waits for the server."""
        return self._size > _ENOUGH

    def write(self, data: bytes) -> None:
        """Send a part of the content."""
        self._add(data)

    def end(self, data: bytes = b"") -> None:
        """Send the last part."""
        self._ended = True
        self._add(data)

    async def forward(self, send: Send, last: Callable[[], None]) -> None:
        """Send the answer until it has ended; `last` is called before its last part."""
        loop = asyncio.get_running_loop()
        begun = False
        while True:
            while not self._parts:
                self._wake = loop.create_future()
                await self._wake
            if not begun:
                begun = True
                fields = [*(self._fields or ())]
                start = {"type": "http.response.start", "status": self._status, "headers": fields}
                await send(start)
            parts, self._parts = self._parts, []
            body, ended = b"".join(parts), self._ended
            if ended:
                last()
            await send({"type": "http.response.body", "body": body, "more_body": not ended})
            if ended:
                return
            self._taken(len(body))

    def _taken(self, size: int) -> None:
        """Go on where a client has been passed over; the server has taken `size` bytes."""
        paused = self.paused
        self._size -= size
        if paused and not self.paused and self.resumed is not None:
            self.resumed()

    def _add(self, data: bytes) -> None:
        if data or not self._parts:
            self._parts.append(data)
        self._size += len(data)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
