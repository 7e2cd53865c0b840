"""One connection to an upstream: a socket, and one exchange at a time on it."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Protocol

import httpx

from gateway.transport.failures import lost_failure
from gateway.transport.look import look_at
from gateway.transport.quarantine import answers_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.transport.answer import RawAnswer
    from gateway.transport.reader import AnswerReader, Readers

__all__ = ["Connection", "Owner"]

_HIGH_WATER = 256 * 1024
_CLOCK_GRAIN = 0.001
# Seconds in which the loop reads what was seen in a socket.
_LAST_LOOK = 1.0


class Owner(Protocol):
    """What a connection tells its pool."""

    def retired(self, connection: Connection) -> None:
        """Take note that `connection` must not be asked any more."""

    def lost(self, connection: Connection) -> None:
        """Take note that the socket of `connection` is gone."""

    def surplus(self) -> None:
        """Take note that bytes came that answer no request."""


class Connection(asyncio.Protocol):
    """A socket and the exchange that is on it.

    It belongs either to its pool (idle) or to the one who asks; who asks gives it back. Nothing is
    read ahead: bytes that nobody asked for end the connection.

    Bytes that arrive before a request is written never pass for its answer, whether they came
    behind the end of the last answer, while the connection was idle, or wait unread in the socket
    when the request is written. Bytes that arrive after that do: HTTP/1.1 does not number answers,
    so an upstream that writes unasked while a request is on its way is believed. The owner hears of
    surplus bytes (`Owner.surplus`) and stops reusing connections for a while, which bounds how
    often that can happen.

    A reader is borrowed when the first byte of an answer comes: thousands of connections that only
    wait for one need none.

    Attributes:
        complete: the answer is whole; also before the first one is asked for.
        idle_since: the loop's time at which the pool got it back.
    """

    __slots__ = (
        "_alarm",
        "_alarm_at",
        "_expires",
        "_failure",
        "_future",
        "_head_request",
        "_look",
        "_loop",
        "_owner",
        "_paused",
        "_read_limit",
        "_reader",
        "_readers",
        "_served",
        "_streaming",
        "_transport",
        "_unsent",
        "_usable",
        "_write_limit",
        "complete",
        "idle_since",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, readers: Readers, owner: Owner) -> None:
        self._loop = loop
        self._owner = owner
        self._readers = readers
        self._reader: AnswerReader | None = None
        self.complete = True
        self._transport: asyncio.Transport | None = None
        self._future: asyncio.Future[RawAnswer] | None = None
        self._failure: Exception | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._expires = inf
        self._read_limit: float | None = None
        self._write_limit: float | None = None
        self._served = 0
        self._usable = True
        self._look: Callable[[int], object] | None = None
        self._unsent = False
        self._head_request = False
        self._streaming = False
        self._paused = False
        self.idle_since = 0.0

    # What the pool and the transport see.

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: this one is whole and nothing was left over."""
        return self._usable and self.complete

    @property
    def open(self) -> bool:
        """Whether there is a socket."""
        return self._transport is not None

    def may_ask_again(self, *, idempotent: bool) -> bool:
        """Tell whether a request that failed here may be sent again on another connection.

        Any may that was not sent at all. One that was sent may if it is idempotent, and met the
        race of a kept-alive connection that the other side closes just then: it had served before
        and ended without a byte of the answer (RFC 9112 section 9.3.1).
        """
        unheard = self._reader is None or not self._reader.started
        return self._unsent or (idempotent and self._served > 0 and unheard)

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
        self._failure = None
        self._streaming = streaming
        self._read_limit = read
        self._write_limit = write
        self.complete = False
        self._head_request = head_request
        self._give_back()
        transport = self._transport
        # uvloop's transports close a turn of the loop before they tell.
        self._unsent = transport is None or not self._usable or transport.is_closing()
        if self._unsent or transport is None:
            self._fail(lost_failure(None))
            return future
        if self._served and (self._look or self._first_look())(0):
            # Bytes, or the end of the connection: they came before the request.
            self._unsent = True
            self._put_aside()
            return future
        # Set first: writing may call `pause_writing`, which knows better.
        self._expires = expires if read is None else self._loop.time() + read
        transport.write(request)
        if self._expires < self._alarm_at:
            self._set_alarm()
        return future

    def take(self) -> list[bytes | bytearray]:
        """Return the pieces of a streamed body that have come since the last call."""
        if self._reader is None:
            return []
        pieces = self._reader.pieces
        self._reader.pieces = []
        self._unpause()
        return pieces

    def more(self) -> asyncio.Future[RawAnswer]:
        """Return a future that is done once `take` has something or the answer is whole."""
        future: asyncio.Future[RawAnswer] = self._loop.create_future()
        self._future = future
        if self._failure is not None:
            future.set_exception(self._failure)
        elif self._read_limit is not None:
            self._allow(self._read_limit)
        return future

    def abort(self, error: Exception | None = None) -> None:
        """Close the socket at once; an exchange in flight fails with `error`."""
        self._usable = False
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
        if not self._usable:
            # Whoever wanted it gave up in the same turn of the loop.
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Read on in the answer."""
        if self.complete:
            # Idle, or the answer is whole: these bytes answer nothing.
            self.abort()
            self._owner.retired(self)
            if answers_nothing(data):
                self._owner.surplus()
            return
        reader = self._reader or self._borrow()
        try:
            whole = reader.feed(data)
        except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
            self._fail(error)
            return
        if whole:
            self._finish(reader)
        elif self._streaming and reader.head_done:
            self._hand_over(reader)
        elif self._read_limit is not None:
            self._allow(self._read_limit)

    def eof_received(self) -> bool | None:
        """Take the end of the other side's bytes: of a close-delimited body, or an early one."""
        self._usable = False
        if self.complete:
            self._owner.retired(self)
            return None
        reader = self._reader or self._borrow()
        try:
            reader.feed_eof()
        except httpx.RemoteProtocolError as error:
            self._fail(error)
        else:
            self._finish(reader)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the socket."""
        self._transport = None
        if not self.complete:
            self._fail(lost_failure(exc))
        self.abort()
        self._owner.retired(self)
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """Start the clock of a request that the other side does not take."""
        if self._write_limit is not None and not self.complete:
            self._allow(self._write_limit)

    def resume_writing(self) -> None:
        """Go on waiting for the answer."""
        if self.complete:
            return
        if self._read_limit is not None:
            self._allow(self._read_limit)
        elif self._write_limit is not None:
            self._expires = inf

    # Inner parts

    def _first_look(self) -> Callable[[int], object]:
        look = self._look = look_at(self._transport)
        return look

    def _put_aside(self) -> None:
        """Fail an exchange that was not sent; let the loop read what waits, and judge it."""
        self._settle(lost_failure(None))
        self._usable = False
        self.complete = True
        self._loop.call_later(_LAST_LOOK, self.abort)

    def _borrow(self) -> AnswerReader:
        reader = self._reader = self._readers.take()
        reader.begin(head_request=self._head_request, streaming=self._streaming)
        return reader

    def _give_back(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and reader.reusable:
            self._readers.give_back(reader)

    def _finish(self, reader: AnswerReader) -> None:
        """Settle a whole answer, and decide whether the connection can go on."""
        self.complete = True
        self._served += 1
        self._expires = inf
        self._usable = (
            self._usable
            and reader.reusable
            and self._transport is not None
            # An answer that came before the request was taken leaves the rest of it to be sent.
            and not self._transport.get_write_buffer_size()
        )
        self._unpause()
        if reader.surplus:
            self._owner.surplus()
        if self._streaming:
            self._hand_over(reader)
            return
        future = self._future
        if future is not None and not future.done():
            future.set_result(reader.answer())
        self._give_back()

    def _hand_over(self, reader: AnswerReader) -> None:
        """Wake whoever streams; hold the other side back while nobody takes what has come."""
        future = self._future
        if future is not None and not future.done():
            self._expires = inf
            future.set_result(reader.head())
        if (
            not self.complete
            and not self._paused
            and self._transport is not None
            and sum(map(len, reader.pieces)) > _HIGH_WATER
        ):
            self._paused = True
            self._transport.pause_reading()

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            if self._transport is not None:
                self._transport.resume_reading()

    def _fail(self, error: Exception) -> None:
        self._settle(error)
        self.abort()

    def _settle(self, error: Exception) -> None:
        if self.complete or self._failure is not None:
            return
        self._failure = error
        future = self._future
        if future is not None and not future.done():
            future.set_exception(error)

    def _allow(self, seconds: float) -> None:
        self._expires = self._loop.time() + seconds
        if self._expires < self._alarm_at:
            self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._expires
        self._alarm = self._loop.call_at(self._expires, self._ring)

    def _ring(self) -> None:
        """Fail the exchange whose time is up.

        One alarm serves many exchanges: it is set again here when the one in flight has time left,
        and never cancelled for one that is answered: that would be a timer for each exchange.
        """
        self._alarm = None
        self._alarm_at = inf
        if self.complete or self._expires == inf:
            return
        if self._loop.time() < self._expires - _CLOCK_GRAIN:
            self._set_alarm()
        elif self._transport is not None and self._transport.get_write_buffer_size():
            self._fail(httpx.WriteTimeout("the request was not taken in time"))
        else:
            self._fail(httpx.ReadTimeout("no answer in time"))
