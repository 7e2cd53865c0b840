"""The network backend of httpcore's connections, which accounts for every byte received.

httpcore uses anyio by default. anyio's buffers cannot be inspected, and a cancellation can
interrupt the closing of its streams. These sockets close at once and report surplus bytes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from gateway.transport.failures import AnswerTooLarge, closed_failure, connect_failure, lost_failure
from gateway.transport.look import look_at
from gateway.transport.quarantine import answers_nothing
from gateway.transport.reader import AnswerReader

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from gateway.transport.bounds import Bounds

__all__ = ["Sockets", "Stale"]

_HIGH_WATER = 256 * 1024
# h11 takes about 12 us for a chunk: a larger piece of tiny chunks would block the loop.
_PIECE = 16 * 1024


class Stale(Exception):
    """The connection accepts no further request; nothing was sent."""


class Sockets(httpcore.AsyncNetworkBackend):
    """Creates the socket of one connection, in layers for TLS and proxies.

    The gateway's own parser reads every HTTP/1.1 answer too. It enforces the bounds and knows where
    the answer ends, which httpcore does not report.

    Args:
        bounds: limits on an answer.
        ended: called once the server has closed the connection, or the socket is closed.
        surplus: called when bytes arrive that answer no request.
    """

    def __init__(
        self, bounds: Bounds, *, ended: Callable[[], None], surplus: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._answer = AnswerReader(bounds)
        self._stream: _Stream | None = None
        self._scope: asyncio.Timeout | None = None
        self._look: Callable[[int], object] | None = None
        self._report = surplus
        self.ended = ended
        self.aborted = False
        self.resting = False
        self.reading = False

    @property
    def open(self) -> bool:
        """Whether there is a socket that the server has not closed."""
        return self._stream is not None and self._stream.open

    @property
    def gone(self) -> bool:
        """Whether there is no socket left to wait for."""
        return self._stream is None or self._stream.lost

    @property
    def heard(self) -> bool:
        """Whether the first byte of the answer has arrived."""
        return self._answer.started

    # Around one HTTP/1.1 exchange

    def begin(self, *, head_request: bool, reused: bool) -> None:
        """Prepare for the answer to the request that is written next.

        Raises `Stale` if the connection has ended or holds bytes that arrived too early.
        """
        stream = self._stream
        if stream is None or not stream.open:
            raise Stale
        if reused:
            if self._look is None:
                self._look = look_at(stream.transport)
            if self._look(0):
                # The loop reads and judges the bytes; then the socket is closed.
                self._loop.call_later(1.0, self.abort)
                raise Stale
        self.resting = False
        self.reading = True
        self._answer.begin(head_request=head_request, streaming=True)

    def finish(self) -> bool:
        """Return whether the connection is reusable after the answer that was read."""
        self.reading = False
        stream = self._stream
        left = b"" if stream is None else bytes(stream.buffer)
        if (self._answer.complete and self._answer.surplus) or answers_nothing(left):
            self._report()
        clean = self._answer.reusable and not left and self.open
        self.resting = clean
        self._answer.forget()
        return clean

    def account(self, data: bytes) -> None:
        """Parse what httpcore reads; raise `AnswerTooLarge` before it sees data over a bound."""
        answer = self._answer
        if answer.complete:
            # httpcore reads past the end of the answer.
            answer.reusable = False
            return
        answer.pieces = []
        try:
            answer.feed(data)
        except AnswerTooLarge:
            raise
        except (httpx.RemoteProtocolError, httpx.DecodingError):
            # httpcore is more lenient; but the connection is not reused.
            self.reading = False
            answer.reusable = False

    def unasked(self, data: bytes) -> None:
        """Close an idle connection that received bytes."""
        self.abort()
        self.ended()
        if answers_nothing(data):
            self._report()

    def abort(self) -> None:
        """Close at once; cancel a pending connect."""
        self.aborted = True
        if self._scope is not None:
            self._scope.reschedule(self._loop.time())
        if self._stream is not None:
            self._stream.abort()

    # httpcore.AsyncNetworkBackend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect; raise httpx's own errors."""
        del local_address, socket_options  # the gateway sets neither
        stream = _Stream(self, self._loop)
        await self._within(
            timeout, stream, lambda: self._loop.create_connection(lambda: stream, host, port)
        )
        return stream

    async def wrap(
        self, below: _Stream, context: ssl.SSLContext, name: str | None, timeout: float | None
    ) -> httpcore.AsyncNetworkStream:
        """Return a stream of TLS over `below`."""
        transport = below.transport
        if transport is None:
            raise connect_failure(ConnectionResetError("the connection was closed"))
        stream = _Stream(self, self._loop)

        async def handshake() -> None:
            secured = await self._loop.start_tls(transport, stream, context, server_hostname=name)
            if secured is None:
                raise ConnectionResetError("the connection was closed")
            stream.connection_made(secured)

        try:
            await self._within(timeout, stream, handshake)
        except BaseException:
            below.abort()
            # asyncio does not report a socket that is lost during a handshake.
            below.lost = True
            self.ended()
            raise
        return stream

    async def _within(self, limit: float | None, stream: _Stream, make: Callable[[], Any]) -> None:
        try:
            self._refuse_if_aborted()
            async with asyncio.timeout(limit) as self._scope:
                await make()
            self._refuse_if_aborted()
        except (OSError, UnicodeError) as error:
            stream.abort()
            self._refuse_if_aborted()
            raise connect_failure(error) from error
        except BaseException:
            stream.abort()
            raise
        finally:
            self._scope = None
        self._stream = stream

    def _refuse_if_aborted(self) -> None:
        if self.aborted:
            raise closed_failure()


class _Stream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One layer of a socket as httpcore sees it; the exchange's deadline is its only time limit."""

    def __init__(self, sockets: Sockets, loop: asyncio.AbstractEventLoop) -> None:
        self._sockets = sockets
        self._loop = loop
        self._aborted = False
        self._eof = False
        self._error: Exception | None = None
        self._held_up = False
        self._full = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self.buffer = bytearray()
        self.lost = False
        self.transport: asyncio.Transport | None = None

    @property
    def open(self) -> bool:
        """Whether requests may be written."""
        transport = self.transport
        return (
            transport is not None and not self._aborted and not self._eof and not self.lost
        ) and not transport.is_closing()

    def abort(self) -> None:
        """Close at once; pending reads and writes fail."""
        self._aborted = True
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the socket's transport."""
        self.transport = transport  # type: ignore[assignment]  # TCP and TLS give full ones
        if self._aborted:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Buffer bytes until they are read, or refuse them."""
        if self._sockets.resting:
            self._sockets.unasked(data)
            return
        self.buffer += data
        if not self._full and len(self.buffer) > _HIGH_WATER and self.transport is not None:
            self._full = True
            self.transport.pause_reading()
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def eof_received(self) -> bool | None:
        """Handle the end of input."""
        self._eof = True
        self._wake()
        self._sockets.ended()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the socket."""
        self.lost = True
        self._error = exc
        self._wake()
        self._sockets.ended()

    def pause_writing(self) -> None:
        """Block `write`."""
        self._held_up = True

    def resume_writing(self) -> None:
        """Unblock `write`."""
        self._held_up = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    # httpcore.AsyncNetworkStream

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ARG002 - httpcore gives none
    ) -> bytes:
        """Return bytes, empty at the end."""
        if self.buffer:
            # A hostile upstream that sends without a pause must not block other tasks.
            await asyncio.sleep(0)
        while not self.buffer:
            if self._aborted:
                raise httpx.ReadError("the connection was closed")
            if self._eof or self.lost:
                if self._error is not None:
                    raise lost_failure(self._error)
                return b""
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        size = min(max_bytes, _PIECE)
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        if self._full and len(self.buffer) < _HIGH_WATER:
            self._full = False
            if self.transport is not None and not self.lost:
                self.transport.resume_reading()
        if self._sockets.reading:
            self._sockets.account(data)
        return data

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ARG002 - httpcore gives none
    ) -> None:
        """Write all of `buffer`; on failure httpcore still reads the answer."""
        if not buffer:
            return
        if not self.open or self.transport is None:
            raise httpcore.WriteError("the connection was closed")
        self.transport.write(buffer)
        while self._held_up:
            if self.lost or self._aborted:
                raise httpcore.WriteError("the connection broke while the request was being sent")
            self._writer = self._loop.create_future()
            try:
                await self._writer
            finally:
                self._writer = None

    async def aclose(self) -> None:
        """Close."""
        self.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a stream of TLS over this one."""
        return await self._sockets.wrap(self, ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        """Return the `ssl_object`, from which httpcore reads the negotiated protocol."""
        if self.transport is not None and info == "ssl_object":
            return self.transport.get_extra_info("ssl_object")
        return None

    # Inner parts

    def _wake(self) -> None:
        for waiting in (self._reader, self._writer):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
