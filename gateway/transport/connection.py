"""One connection to an upstream: HTTP/1.1 client side, one exchange at a time (RFC 9112)."""

from __future__ import annotations

import asyncio
import re
from math import inf
from typing import TYPE_CHECKING, Protocol

import httpx
from httptools import HttpParserError, HttpResponseParser

from gateway.transport.answer import RawAnswer
from gateway.transport.failures import AnswerTooLarge, lost_failure
from gateway.transport.inflate import content_coding

if TYPE_CHECKING:
    from gateway.transport.bounds import Bounds

__all__ = ["Connection", "Owner"]

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"content-encoding"})
_BARE = frozenset({204, 304})
_REASON = re.compile(rb"[^\x00\x0b\x0c\r\n]*").fullmatch

_OK = 200
_SWITCHING = 101
_LOWEST = 100
_H = 0x48
_CHUNK_OVERHEAD = 8
_PIECES = 1024
_TAIL = len(b".\r\n\r\n")
_LENGTH_DIGITS = 20
_HIGH_WATER = 256 * 1024
_CLOCK_GRAIN = 0.001


class Owner(Protocol):
    """What a connection tells its pool."""

    def retired(self, connection: Connection) -> None:
        """Take note that `connection` must not be asked any more."""

    def lost(self, connection: Connection) -> None:
        """Take note that the socket of `connection` is gone."""


class Connection(asyncio.Protocol):
    """A socket, a parser, and the exchange that is on them.

    It belongs either to its pool (idle) or to the one who asks; who asks gives it back. Nothing is
    read ahead: bytes that nobody asked for end the connection, so that they can never pass for the
    answer to a later request.

    Attributes:
        idle_since: the loop's time at which the pool got it back.
    """

    __slots__ = (
        "_alarm",
        "_alarm_at",
        "_body",
        "_bounds",
        "_coding",
        "_complete",
        "_expires",
        "_failure",
        "_fields",
        "_framed",
        "_future",
        "_head_bytes",
        "_head_done",
        "_head_request",
        "_headers",
        "_interim",
        "_keeps_alive",
        "_length",
        "_loop",
        "_owner",
        "_parser",
        "_paused",
        "_plain",
        "_read_limit",
        "_reason",
        "_refusal",
        "_reusable",
        "_served",
        "_size",
        "_status",
        "_streaming",
        "_surplus",
        "_tail",
        "_transport",
        "_version",
        "_wire",
        "_write_limit",
        "idle_since",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, bounds: Bounds, owner: Owner) -> None:
        self._loop = loop
        self._bounds = bounds
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = HttpResponseParser(self)
        self._future: asyncio.Future[RawAnswer] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._expires = inf
        self._read_limit: float | None = None
        self._write_limit: float | None = None
        self._served = 0
        self._reusable = True
        self._complete = True
        self._paused = False
        self.idle_since = 0.0
        self._begin(head_request=False, streaming=False)

    def _begin(self, *, head_request: bool, streaming: bool) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes | bytearray] = []
        self._head_request = head_request
        self._streaming = streaming
        self._head_bytes = 0
        self._head_done = False
        self._interim = False
        self._keeps_alive = False
        self._surplus = False
        self._framed = False
        self._length = -1
        self._size = 0
        self._wire = 0
        self._status = 0
        self._fields = 0
        self._plain = False
        self._version = "HTTP/1.1"
        self._reason = b""
        self._tail = b""
        self._coding: bytes | None = None
        self._refusal: Exception | None = None
        self._failure: Exception | None = None

    # What the pool and the transport see.

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: this one is whole and nothing was left over."""
        return self._reusable and self._complete

    @property
    def open(self) -> bool:
        """Whether there is a socket."""
        return self._transport is not None

    @property
    def complete(self) -> bool:
        """Whether the answer is whole."""
        return self._complete

    @property
    def went_stale(self) -> bool:
        """Whether it had served before and then ended without a byte of the answer.

        That is the race of a kept-alive connection that the other side closes while we send
        (RFC 9112 section 9.3.1): an idempotent request may be sent again.
        """
        return self._served > 0 and self._head_bytes == 0

    def ask(
        self,
        request: bytes,
        *,
        head_request: bool = False,
        expires: float = inf,
        streaming: bool = False,
        read: float | None = None,
        write: float | None = None,
    ) -> asyncio.Future[RawAnswer]:
        """Send `request`; return the future of its answer.

        Args:
            request: all bytes of it.
            head_request: it is a HEAD: the answer's framing fields describe no body.
            expires: the loop's time at which the exchange has failed.
            streaming: the future gives the answer without its body, which `take` and `more` give.
            read: seconds that each wait for the other side may last, instead of `expires`.
            write: seconds that sending may be held up, instead of `expires`.
        """
        future: asyncio.Future[RawAnswer] = self._loop.create_future()
        self._future = future
        self._begin(head_request=head_request, streaming=streaming)
        self._complete = False
        self._read_limit = read
        self._write_limit = write
        transport = self._transport
        if transport is None or not self._reusable:
            self._fail(lost_failure(None))
            return future
        # Set first: writing may call `pause_writing`, which knows better.
        self._expires = expires if read is None else self._loop.time() + read
        transport.write(request)
        if self._expires < self._alarm_at:
            self._set_alarm()
        return future

    def take(self) -> list[bytes | bytearray]:
        """Return the pieces of a streamed body that have come since the last call."""
        pieces = self._body
        self._body = []
        self._unpause()
        return pieces

    def more(self) -> asyncio.Future[RawAnswer]:
        """Return a future that is done once `take` has something or the answer is whole."""
        future: asyncio.Future[RawAnswer] = self._loop.create_future()
        self._future = future
        if self._failure is not None:
            future.set_exception(self._failure)
        elif self._read_limit is not None:
            self._expires = self._loop.time() + self._read_limit
            if self._expires < self._alarm_at:
                self._set_alarm()
        return future

    def abort(self, error: Exception | None = None) -> None:
        """Close the socket at once; an exchange in flight fails with `error`."""
        self._reusable = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
            self._alarm_at = inf
        if error is not None:
            self._settle(error)
        self._future = None
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = transport  # type: ignore[assignment]  # TCP gives a full transport
        if not self._reusable:
            # Whoever wanted it gave up in the same turn of the loop.
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._complete:
            # Idle, or the answer is whole: these bytes answer nothing.
            self.abort()
            self._owner.retired(self)
            return
        error = self._feed(data)
        if self.complete:
            # An error behind the end of the answer is no fault of the answer.
            self._surplus = self._surplus or error is not None
            self._finish(data)
        elif error is not None:
            self._fail(self._refusal or httpx.RemoteProtocolError(str(error)))
        else:
            self._go_on(data)

    def eof_received(self) -> bool | None:
        """Take the end of the other side's bytes: of a close-delimited body, or an early one."""
        self._reusable = False
        if self._complete:
            self._owner.retired(self)
            return None
        if self._head_done and not self._framed:
            self._complete = True
            self._finish(b"")
        elif self._head_done:
            self._fail(httpx.RemoteProtocolError("the other side closed within the body"))
        else:
            self._fail(httpx.RemoteProtocolError("the other side closed without an answer"))
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the socket."""
        self._transport = None
        if not self._complete:
            self._fail(lost_failure(exc))
        self.abort()
        self._owner.retired(self)
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """Start the clock of a request that the other side does not take."""
        if self._write_limit is not None and not self._complete:
            self._expires = self._loop.time() + self._write_limit
            if self._expires < self._alarm_at:
                self._set_alarm()

    def resume_writing(self) -> None:
        """Go on waiting for the answer."""
        if not self._complete:
            if self._read_limit is not None:
                self._expires = self._loop.time() + self._read_limit
            elif self._write_limit is not None:
                self._expires = inf

    # HttpResponseParser

    def on_message_begin(self) -> None:
        """Stop at a second answer behind the first."""
        if self._complete:
            raise HttpParserError("bytes behind the end of the answer")

    def on_status(self, reason: bytes) -> None:
        """Keep the reason phrase."""
        self._reason += reason
        if reason != b"OK" and not _REASON(reason):
            raise self._refuse("the reason phrase has control characters")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header field (or trailer field, which is dropped in the end)."""
        name = name.lower()
        value = value.rstrip(b" \t")
        if name in _FRAMING and not self._head_done:
            self._note(name, value)
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Decide what the answer is and how it ends."""
        status = self._parser.get_status_code()
        if status < _OK:
            self._skip_interim(status)
            return
        if not self._plain:
            self._check_version()
        if len(self._headers) > self._bounds.max_headers:
            raise self._refuse(f"more than {self._bounds.max_headers} header fields", large=True)
        self._status = status
        self._fields = len(self._headers)
        self._head_done = True
        if self._head_request or status in _BARE:
            self._framed = True
            self._coding = None
            if self._head_request:
                self._complete = True
                self._keeps_alive = self._parser.should_keep_alive()
            return
        if self._length > self._bounds.max_body:
            raise self._refuse(f"content of more than {self._bounds.max_body} bytes", large=True)
        if self._coding is not None:
            try:
                self._coding = content_coding(self._coding)
            except httpx.DecodingError as error:
                self._refusal = error
                raise

    def on_body(self, data: bytes) -> None:
        """Keep one piece of the body."""
        if self._complete:
            self._surplus = True
            return
        self._size += len(data)
        if self._size > self._bounds.max_body:
            raise self._refuse(f"content of more than {self._bounds.max_body} bytes", large=True)
        if len(self._body) >= _PIECES and not self._streaming:
            self._merge()
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Notice the end of the answer, or of an interim one."""
        if self._interim:
            self._interim = False
        else:
            self._complete = True
            # Trailer fields are not what the answer was about (RFC 9110 section 6.5.1).
            del self._headers[self._fields :]
            # Asked here, since the parser forgets what it was about right after.
            self._keeps_alive = self._parser.should_keep_alive()

    # Inner parts

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self._framed = True
            # llhttp has checked that it is digits, and the only one.
            if len(value) > _LENGTH_DIGITS:
                raise self._refuse("a Content-Length of too many digits")
            self._length = int(value)
        elif name == b"content-encoding":
            self._coding = value if self._coding is None else self._coding + b"," + value
        elif self._framed or value.lower() != b"chunked":
            # RFC 9112 section 6.3: never guess at framing. llhttp refuses it with Content-Length.
            raise self._refuse("a transfer encoding that is not chunked alone")
        else:
            self._framed = True

    def _skip_interim(self, status: int) -> None:
        if status < _LOWEST or status == _SWITCHING:
            raise self._refuse(f"status {status} was not asked for")
        self._interim = True
        self._plain = False
        self._headers = []
        self._reason = b""
        self._framed = False
        self._length = -1
        self._coding = None

    def _check_version(self) -> None:
        version = self._parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise self._refuse(f"HTTP/{version} is not HTTP/1")
        self._version = f"HTTP/{version}"

    def _refuse(self, why: str, *, large: bool = False) -> Exception:
        error = AnswerTooLarge(why) if large else httpx.RemoteProtocolError(why)
        self._refusal = error
        return error

    def _feed(self, data: bytes) -> HttpParserError | None:
        try:
            if self._head_done:
                self._wire += len(data)
                self._parser.feed_data(data)
            else:
                self._feed_head(data)
        except HttpParserError as error:
            return error
        return None

    def _feed_head(self, data: bytes) -> None:
        if not self._head_bytes:
            if data[0] != _H:
                # llhttp skips empty lines here; what is left over of another answer looks so.
                raise HttpParserError("the answer does not begin with HTTP/")
            self._plain = data.startswith(b"HTTP/1.1 ")
        room = self._bounds.max_header_bytes - self._head_bytes
        self._head_bytes += len(data)
        if len(data) <= room:
            self._parser.feed_data(data)
            return
        self._parser.feed_data(data[:room])
        if not self._head_done:
            self._refuse(f"a head of more than {self._bounds.max_header_bytes} bytes", large=True)
            raise HttpParserError
        self._parser.feed_data(data[room:])

    def _go_on(self, data: bytes) -> None:
        """Look after an answer that is still coming."""
        self._tail = (self._tail + data[-_TAIL:])[-_TAIL:]
        if self._head_done:
            self._check_overhead()
            if self._streaming:
                self._hand_over()
        elif self._read_limit is not None:
            self._expires = self._loop.time() + self._read_limit

    def _check_overhead(self) -> None:
        allowed = self._bounds.max_header_bytes + _CHUNK_OVERHEAD * self._size
        if self._wire - self._size > allowed:
            # One-byte chunks are allowed for; endless chunk extensions and trailers are not.
            self._fail(self._refuse("more framing than content", large=True))

    def _merge(self) -> None:
        """Put the pieces into one: a body in two-byte chunks would take twenty times its size."""
        first, *rest = self._body
        merged = first if isinstance(first, bytearray) else bytearray(first)
        merged += b"".join(rest)
        self._body = [merged]

    def _finish(self, last: bytes) -> None:
        """Settle a whole answer, and decide whether the connection can go on."""
        self._served += 1
        self._unpause()
        if self._reusable:
            self._reusable = (
                not self._surplus
                and self._keeps_alive
                and self._version == "HTTP/1.1"
                and self._ends_cleanly(last)
                and self._transport is not None
                and not self._transport.get_write_buffer_size()
            )
        if self._head_request:
            # The parser waits for a body that does not come.
            self._parser = HttpResponseParser(self)
        self._expires = inf
        if self._streaming:
            self._hand_over()
            return
        future = self._future
        if future is not None and not future.done():
            body = self._body
            future.set_result(self._answer(bytes(body[0]) if len(body) == 1 else b"".join(body)))

    def _ends_cleanly(self, last: bytes) -> bool:
        """Whether the answer ended where `last` ends; llhttp swallows line breaks behind it."""
        if self._length > 0 and self._body:
            piece = self._body[-1]
            # Of a piece of nothing but line breaks, `endswith` cannot tell.
            return last.endswith(piece) and (len(last) == len(piece) or bool(piece.strip(b"\r\n")))
        tail = (self._tail + last[-_TAIL:])[-_TAIL:]
        return tail.endswith(b"\r\n\r\n") and tail[:1] not in {b"\r", b"\n"}

    def _answer(self, body: bytes) -> RawAnswer:
        return RawAnswer(
            self._status, self._headers, body, self._version, self._reason, self._coding or b""
        )

    def _hand_over(self) -> None:
        """Wake whoever streams; hold the other side back while nobody takes what has come."""
        future = self._future
        if future is not None and not future.done():
            self._expires = inf
            future.set_result(self._answer(b""))
        if (
            not self._complete
            and not self._paused
            and self._transport is not None
            and sum(map(len, self._body)) > _HIGH_WATER
        ):
            self._paused = True
            self._transport.pause_reading()

    def _fail(self, error: Exception) -> None:
        self._settle(error)
        self.abort()

    def _settle(self, error: Exception) -> None:
        if self._complete or self._failure is not None:
            return
        self._failure = error
        future = self._future
        if future is not None and not future.done():
            future.set_exception(error)

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._expires
        self._alarm = self._loop.call_at(self._expires, self._ring)

    def _ring(self) -> None:
        """Fail the exchange whose time is up.

        One alarm serves many exchanges: it is set again here when the one in flight has time left,
        and never cancelled for one that is answered, which would cost more than the exchange.
        """
        self._alarm = None
        self._alarm_at = inf
        if self._complete or self._expires == inf:
            return
        if self._loop.time() < self._expires - _CLOCK_GRAIN:
            self._set_alarm()
        elif self._transport is not None and self._transport.get_write_buffer_size():
            self._fail(httpx.WriteTimeout("the request was not taken in time"))
        else:
            self._fail(httpx.ReadTimeout("no answer in time"))
