"""The content of a streamed answer on a connection: one write for each part."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["StreamOutlet"]


class StreamOutlet:
    """Writes the parts of one answer, in chunked transfer coding (RFC 9112 section 7.1).

    A client of HTTP/1.0 gets them plain, and the end of the connection is their end.

    Args:
        transport: the connection.
        ended: called after the last part.
        chunked: the client knows the transfer coding.
        paused: the client does not read yet.

    Attributes:
        paused: the client does not read; set by the connection.
        added: bytes that were written since the client does not read.
        resumed: called when the client reads again.
    """

    __slots__ = ("_chunked", "_ended", "_transport", "added", "paused", "resumed")

    def __init__(
        self,
        transport: asyncio.Transport,
        ended: Callable[[], None],
        *,
        chunked: bool,
        paused: bool,
    ) -> None:
        self._transport: asyncio.Transport | None = transport
        self._ended = ended
        self._chunked = chunked
        self.paused = paused
        self.added = 0
        self.resumed: Callable[[], None] | None = None

    def read_on(self) -> None:
        """Take note that the client reads again."""
        self.paused = False
        self.added = 0
        if self.resumed is not None:
            self.resumed()

    def write(self, data: bytes) -> None:
        """Send a part of the content now."""
        if self._transport is not None and data:
            self._send(self.framed(data))

    def end(self, data: bytes = b"") -> None:
        """Send the last part, and end the answer."""
        if self._transport is None:
            return
        last = self.framed(data) if data else b""
        if self._chunked:
            last += b"0\r\n\r\n"
        if last:
            self._send(last)
        self.close()
        self._ended()

    def framed(self, data: bytes) -> bytes:
        """Return a part of the content as it is on the wire."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def close(self) -> None:
        """Send nothing more: the answer is over, or its client has gone."""
        self._transport = None

    def _send(self, data: bytes) -> None:
        assert self._transport is not None  # noqa: S101 - checked by the callers
        if self.paused:
            self.added += len(data)
        self._transport.write(data)
