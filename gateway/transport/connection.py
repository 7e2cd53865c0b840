"""An HTTP/1.1 connection to an upstream: one socket with one exchange at a time."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import httpx

from gateway.transport.failures import lost_failure
from gateway.transport.look import look_at
from gateway.transport.quarantine import answers_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.transport.answer import RawAnswer
    from gateway.transport.reader import AnswerReader, Readers

__all__ = ["Asker", "Connection", "Owner"]

_CLOCK_GRAIN = 0.001
# Seconds for the loop to read the bytes that `look_at` saw.
_LAST_LOOK = 1.0


class Owner(Protocol):
    """The callbacks of a connection to its pool."""

    def retired(self, connection: Connection) -> None:
        """Handle that `connection` accepts no further requests."""

    def lost(self, connection: Connection) -> None:
        """Handle that the socket of `connection` is closed."""

    def surplus(self) -> None:
        """Handle bytes that answer no request."""

    def release(self, connection: Connection) -> None:
        """Take `connection` back after an exchange."""

    def give_up(self, connection: Connection) -> None:
        """Release the slot of `connection`, which is not reusable."""

    async def acquire(self) -> Connection:
        """Return another connection."""


class Asker(Protocol):
    """The callbacks of a connection to the one that sent a request on it.

    `errand` is what the asker gave with the request: what it knows the request by.
    """

    def answered(self, connection: Connection, errand: Any, answer: RawAnswer) -> None:
        """Take the complete answer."""

    def failed(self, connection: Connection, errand: Any, error: Exception) -> None:
        """Take the error that ended the exchange."""


class Connection(asyncio.Protocol):
    """A socket and the exchange on it.

    It belongs to its pool while idle, and to one caller during an exchange; the caller releases it.
    Nothing is read ahead: unsolicited bytes end the connection.

    Bytes that arrive before a request is written are never read as its answer, whether they
    followed the last answer, came while the connection was idle, or wait unread in the socket.
    Bytes that arrive afterwards are: HTTP/1.1 does not number answers, so an upstream that writes
    unsolicited bytes while a request is in flight is believed. The connection reports surplus bytes
    to its owner (`Owner.surplus`), which stops reusing connections for a while. That bounds how
    often this can happen.

    A connection borrows a reader when the first byte of an answer arrives, so thousands of
    connections that wait for an answer need none.

    Attributes:
        complete: the answer is complete; also true before the first request.
        idle_since: the loop's time at which it was returned to the pool.
        owner: the pool that it belongs to.
    """

    __slots__ = (
        "_alarm",
        "_alarm_at",
        "_asker",
        "_errand",
        "_expires",
        "_failure",
        "_head_request",
        "_look",
        "_loop",
        "_reader",
        "_readers",
        "_served",
        "_transport",
        "_unsent",
        "_usable",
        "complete",
        "idle_since",
        "owner",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, readers: Readers, owner: Owner) -> None:
        self._loop = loop
        self.owner = owner
        self._readers = readers
        self._reader: AnswerReader | None = None
        self.complete = True
        self._transport: asyncio.Transport | None = None
        self._asker: Asker | None = None
        self._errand: Any = None
        self._failure: Exception | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._expires = inf
        self._served = 0
        self._usable = True
        self._look: Callable[[int], object] | None = None
        self._unsent = False
        self._head_request = False
        self.idle_since = 0.0

    # For the pool and the transport

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow: the last is complete, without surplus bytes."""
        return self._usable and self.complete

    @property
    def open(self) -> bool:
        """Whether there is a socket."""
        return self._transport is not None

    def may_ask_again(self, *, idempotent: bool) -> bool:
        """Return whether a request that failed here may be retried on another connection.

        A request that was not sent may be retried. A request that was sent may be retried if it is
        idempotent and the server closed a kept-alive connection at that moment: the connection had
        served before and ended without a byte of the answer (RFC 9112 section 9.3.1).
        """
        unheard = self._reader is None or not self._reader.started
        return self._unsent or (idempotent and self._served > 0 and unheard)

    def ask(
        self,
        request: bytes,
        *,
        head_request: bool = False,
        expires: float = inf,
    ) -> asyncio.Future[RawAnswer]:
        """Send `request` as `send` does; return the future of its answer."""
        future: asyncio.Future[RawAnswer] = self._loop.create_future()
        self.send(request, _AWAITED, future, head_request, expires)
        return future

    def send(
        self,
        request: bytes,
        asker: Asker,
        errand: Any,
        head_request: bool,  # noqa: FBT001 - keywords would cost as much as the call
        expires: float = inf,
    ) -> None:
        """Send `request`; `asker` gets its answer or its error, possibly at once.

        Args:
            request: the complete request in bytes.
            asker: gets one callback, unless the connection is aborted.
            errand: what the callback gets back.
            head_request: it is a HEAD request: the answer's framing fields describe no body.
            expires: the loop's time at which the exchange fails.
        """
        self._asker = asker
        self._errand = errand
        self._failure = None
        self.complete = False
        self._head_request = head_request
        if self._reader is not None:
            self._give_back()
        transport = self._transport
        # uvloop's transports close one turn of the loop before they call `connection_lost`.
        self._unsent = transport is None or not self._usable or transport.is_closing()
        if self._unsent or transport is None:
            self._fail(lost_failure(None))
            return
        if self._served and (self._look or self._first_look())(0):
            # Bytes, or the end of the connection, that arrived before the request.
            self._unsent = True
            self._put_aside()
            return
        transport.write(request)
        self._expires = expires
        if expires < self._alarm_at:
            self._set_alarm()

    def abort(self, error: Exception | None = None) -> None:
        """Close the socket at once; an exchange in flight fails with `error`."""
        self._usable = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
            self._alarm_at = inf
        if self._transport is not None:
            self._transport.abort()
        if error is not None:
            self._settle(error)
        self._asker = self._errand = None

    def cancel(self) -> None:
        """End the exchange of a request that was sent; the asker is not called."""
        if self._asker is not None:
            self.owner.release(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the socket's transport."""
        self._transport = transport  # type: ignore[assignment]  # TCP gives a full transport
        if not self._usable:
            # The caller gave up in the same turn of the loop.
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Feed the reader."""
        if self.complete:
            # Idle, or the answer is complete: these bytes answer no request.
            self.abort()
            self.owner.retired(self)
            if answers_nothing(data):
                self.owner.surplus()
            return
        reader = self._reader
        if reader is None:
            if not self._head_request and (answer := self._readers.whole.read(data)) is not None:
                self._settled(answer, reusable=True)
                return
            reader = self._borrow()
        try:
            whole = reader.feed(data)
        except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
            self._fail(error)
            return
        if whole:
            self._finish(reader)

    def eof_received(self) -> bool | None:
        """Handle the end of input: the end of a close-delimited body, or a premature one."""
        self._usable = False
        if self.complete:
            self.owner.retired(self)
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
        """Handle the end of the socket."""
        self._transport = None
        if not self.complete:
            self._fail(lost_failure(exc))
        self.abort()
        self.owner.retired(self)
        self.owner.lost(self)

    # Inner parts

    def _first_look(self) -> Callable[[int], object]:
        look = self._look = look_at(self._transport)
        return look

    def _put_aside(self) -> None:
        """Fail an exchange that was not sent; the loop reads the waiting bytes and judges them."""
        self._usable = False
        self._loop.call_later(_LAST_LOOK, self.abort)
        self._settle(lost_failure(None))
        self.complete = True

    def _borrow(self) -> AnswerReader:
        reader = self._reader = self._readers.take()
        reader.begin(head_request=self._head_request)
        return reader

    def _give_back(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and reader.reusable:
            self._readers.give_back(reader)

    def _finish(self, reader: AnswerReader) -> None:
        """Take the complete answer that `reader` has read."""
        if reader.surplus:
            self.owner.surplus()
        answer = reader.answer()
        reusable = reader.reusable
        self._give_back()
        self._settled(answer, reusable=reusable)

    def _settled(self, answer: RawAnswer, *, reusable: bool) -> None:
        """Pass a complete answer on."""
        self.complete = True
        self._served += 1
        self._expires = inf
        self._usable = (
            self._usable
            and reusable
            and self._transport is not None
            # Else the answer came before the request was fully sent.
            and not self._transport.get_write_buffer_size()
        )
        asker, errand = self._asker, self._errand
        self._asker = self._errand = None
        if asker is not None:
            try:
                asker.answered(self, errand, answer)
            except Exception as error:  # it must not end the connection, which has been released
                self._report(error)

    def _fail(self, error: Exception) -> None:
        self.abort(error)

    def _settle(self, error: Exception) -> None:
        if self.complete or self._failure is not None:
            return
        self._failure = error
        asker, errand = self._asker, self._errand
        self._asker = self._errand = None
        if asker is not None:
            try:
                asker.failed(self, errand, error)
            except Exception as bug:
                self._report(bug)

    def _report(self, error: Exception) -> None:
        """Report an error of the asker's own."""
        what = {"message": "an upstream's answer could not be taken", "exception": error}
        self._loop.call_exception_handler(what)

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._expires
        self._alarm = self._loop.call_at(self._expires, self._ring)

    def _ring(self) -> None:
        """Fail an exchange that has timed out.

        One alarm serves many exchanges. It is set again here when the exchange in flight has time
        left, and it is not cancelled when an exchange ends, which would cost a timer for each.
        """
        self._alarm = None
        self._alarm_at = inf
        if self.complete or self._expires == inf:
            return
        if self._loop.time() < self._expires - _CLOCK_GRAIN:
            self._set_alarm()
        elif self._transport is not None and self._transport.get_write_buffer_size():
            self._fail(httpx.WriteTimeout("the request was not sent in time"))
        else:
            self._fail(httpx.ReadTimeout("no answer in time"))


class _Awaited:
    """Passes an answer or an error on to a caller that awaits the future, which is the errand."""

    __slots__ = ()

    def answered(self, _: Connection, errand: asyncio.Future[RawAnswer], answer: RawAnswer) -> None:
        if not errand.done():
            errand.set_result(answer)

    def failed(self, _: Connection, errand: asyncio.Future[RawAnswer], error: Exception) -> None:
        if not errand.done():
            errand.set_exception(error)


_AWAITED = _Awaited()
