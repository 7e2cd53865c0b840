"""The protocol of one connection: requests in, answers out, one at a time, within limits.

A dashboard's request goes from the parser to its endpoint without an ASGI scope, and its answer is
one write. Everything else takes the usual way, through ASGI (`gateway/server/asgi.py`). A request
that follows another one waits as plain bytes until that one is answered, so that answers are in
order and little is held for a client that only sends.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.utils import get_remote_addr

from gateway.aio.tasks import cancel_and_wait
from gateway.aio.timers import Alarm
from gateway.server.asgi import Exchange, ending
from gateway.server.outlet import StreamOutlet
from gateway.server.reader import Phase, RequestReader, target_of
from gateway.server.refusal import ClientLine, Refusal
from gateway.web.fields import Fields
from gateway.web.problems import bug
from gateway.web.websocket import PATH

if TYPE_CHECKING:
    from starlette.responses import Response

    from gateway.server.shared import Shared
    from gateway.web.cors import CrossOrigin
    from gateway.web.dashboard import Answering, DashboardEndpoint

__all__ = ["Connection"]

_log = logging.getLogger("gateway")

_READ_AHEAD = 64 * 1024
"""Bytes that may wait while a request is answered; with more of them reading pauses."""

_AT_ONCE = 16
"""Requests of one connection that are answered before others get their turn."""

_JOINED = 64 * 1024
"""A larger content is not copied behind its head: a cached one exists once, for all clients."""

_PROGRESS = 16 * 1024
"""Bytes that a client has to read in `send_time` where more than that wait."""

_LINGER = 2.0
"""Seconds after the last answer in which what a client still sends is read and dropped. Closing at
once would reset the connection, and the answer could be lost on its way."""

_LINGER_BYTES = 1024 * 1024
_BETWEEN, _HEAD, _BODY = Phase
_NO_SLOT: set[Alarm] = set()
_NO_FIELDS = Fields(())
_CONTENT = frozenset({b"content-length", b"transfer-encoding"})


class Connection(asyncio.Protocol, Alarm):
    """One connection of a client; its alarm rings when a limit of time may have passed.

    Attributes:
        transport: the connection.
    """

    __slots__ = (
        "_answering", "_cross", "_deadline", "_deaf", "_due", "_ending", "_exchange", "_fed",
        "_flow", "_head_only", "_keep_alive", "_lost", "_outlet", "_paused", "_reader", "_shared",
        "_sync", "_task", "_timed", "_unsent", "_work", "transport",
    )  # fmt: skip

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._reader = RequestReader(shared.limits)
        self.transport: asyncio.Transport
        self._flow: FlowControl | None = None
        self._answering = False  # a request is with an endpoint or an application
        self._sync = False  # ... which has not returned yet
        self._cross: CrossOrigin | None = None  # what CORS adds to its answer
        self._keep_alive = True
        self._head_only = False
        self._task: asyncio.Task[None] | None = None
        self._work: Answering | None = None
        self._exchange: Exchange | None = None
        self._outlet: StreamOutlet | None = None  # the answer is a stream, and has begun
        self._paused = False  # the client does not read
        self._ending = False  # nothing more is answered
        self._deaf = False  # what comes is read and dropped
        self._lost = False
        self._fed = 0  # bytes read and dropped
        self._timed = True  # the time for the next head is running
        self._unsent = 0
        self._deadline = inf
        self._due = inf
        self.slot = _NO_SLOT

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; beyond the limit of connections, refuse and end."""
        self.transport = cast("asyncio.Transport", transport)
        shared = self._shared
        shared.state.connections.add(self)  # type: ignore[arg-type] # it does what uvicorn asks
        if shared.is_full():
            limit = shared.limits.connections
            detail = f"the gateway is at its limit of {limit} connections"
            self._refuse(Refusal(503, detail, retry_after=1))
        else:
            self._within(shared.limits.head_time)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Give up what the client no longer waits for."""
        self._lost = self._ending = self._deaf = True
        self._shared.state.connections.discard(self)
        self.slot.discard(self)
        self._task = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.disconnect()
        self._abandon()
        self._reader.close()

    def eof_received(self) -> None:
        """Close; a client that has no more requests is not waited for."""

    def data_received(self, data: bytes) -> None:
        """Read, and answer what is complete."""
        if self._deaf:
            self._drop(len(data))
            return
        reader = self._reader
        if self._answering or self._paused or not reader.is_whole(data):
            reader.pending += data
            self._advance()
            return
        try:
            reader.read_whole(data)
            if reader.headed:
                self._dispatch()
        except Refusal as refusal:
            self._refuse(refusal)

    def pause_writing(self) -> None:
        """Begin no further answer until the client has read."""
        self._paused = True
        if self._flow is not None:
            self._flow.pause_writing()
        if self._outlet is not None:
            self._outlet.paused = True
        self._unsent = self.transport.get_write_buffer_size()
        self._within(self._shared.limits.send_time)

    def resume_writing(self) -> None:
        """Go on; the client has read."""
        self._paused = False
        self._unsent = 0
        if self._flow is not None:
            self._flow.resume_writing()
        if self._ending:
            return
        self._time_again()
        if self._outlet is not None:
            self._outlet.read_on()
        if self._reader.pending:
            self._advance()

    # What the server calls

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered, and the connection is open."""
        reader = self._reader
        busy = self._answering or self._ending or self._paused
        return not busy and reader.phase == _BETWEEN and not reader.pending

    def fileno(self) -> int:
        """Return the descriptor of the socket; -1 once it is closed."""
        found = self.transport.get_extra_info("socket")
        return -1 if found is None else int(found.fileno())

    def shutdown(self) -> None:
        """Answer what is under way, and close."""
        if self._answering:
            self.announce()
        elif not self._ending:
            self._end()

    def announce(self) -> None:
        """Let the answer that is under way be the last one, and say so, if its head can still."""
        if self._answering and not self._reader.pending:
            self._keep_alive = False
            if self._exchange is not None:
                self._exchange.close_after()

    def close_idle(self) -> None:
        """Close the connection, which is idle."""
        self._deaf = True
        self._end()

    def give_up(self) -> None:
        """Answer the request that has no answer with 503, and close.

        An answer that has begun is cut off: nothing else says that it is not complete.
        """
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not exchange.ended:
            exchange.disconnect()
            if exchange.began:
                self._abort()
                return
        if self._outlet is not None:
            self._abandon()
            self._abort()
            return
        self._abandon()
        if self._answering or self._reader.phase == _HEAD:
            self._answering = self._deaf = True
            self._keep_alive = False
            self._respond_with(ending())
        elif not self._ending:
            self.close_idle()

    # Requests

    def _advance(self) -> None:
        """Parse what is pending, and answer it, as far as it goes now."""
        reader = self._reader
        answered = 0
        try:
            while reader.pending and not self._deaf:
                if reader.phase != _BODY and (self._answering or self._paused):
                    break
                if answered == _AT_ONCE:
                    self._shared.loop.call_soon(self._advance)
                    break
                was_body = reader.phase == _BODY
                reader.read()
                if reader.headed:
                    answered += 1
                    self._dispatch()
                elif reader.phase == _HEAD:
                    self._time_head()
                elif was_body and reader.phase == _BETWEEN:
                    self._time_again()
        except Refusal as refusal:
            self._refuse(refusal)
        self._regulate()

    def _dispatch(self) -> None:
        """Give the request that has been read to its endpoint."""
        reader, shared = self._reader, self._shared
        target = target_of(reader.url)
        self._answering = True
        self._head_only = reader.method == "HEAD"
        more_body = reader.phase == _BODY
        self._keep_alive = (
            reader.keep_alive and not reader.upgrades and not (reader.expects and more_body)
        )
        if more_body:
            self._within(shared.limits.body_time)
        else:
            self._deadline = inf
        cors = shared.cors
        if cors is not None:
            self._cross = cors.of(reader.method, reader.fields)
            if self._cross.is_preflight:
                reader.next()
                self._sync = True
                self._respond(204, _NO_FIELDS, b"")
                self._sync = False
                return
        if reader.upgrades and target[0] == PATH and self._hand_over():
            return
        found = shared.direct(target[0])
        if found is None:
            self._start_exchange(target, more_body=more_body)
            return
        fields = reader.fields
        method = reader.method
        reader.next()
        self._ask(found[0], method, target, fields, found[1])

    def _ask(
        self,
        endpoint: DashboardEndpoint,
        method: str,
        target: tuple[bytes, bytes],
        fields: list[tuple[bytes, bytes]],
        path: tuple[tuple[str, str], ...],
    ) -> None:
        """Let a dashboard answer, now or later."""
        self._sync = True
        respond = partial(self._respond_to, endpoint) if endpoint.is_mocked else self._respond
        try:
            work = endpoint.answer(method, *target, fields, path, respond, self._begin)
        except Exception:
            self._report_bug()
            work = None
        self._sync = False
        self._work = work

    def _respond_to(self, endpoint: DashboardEndpoint, *answer: Any) -> None:
        """Send an answer; what a mock objected to is logged."""
        self._respond(*answer)
        if not self._sync:
            self._shared.start(self._settle(endpoint))

    async def _settle(self, endpoint: DashboardEndpoint) -> None:
        try:
            await endpoint.settle()
        except Exception:
            _log.exception("a dashboard failed")

    def _start_exchange(self, target: tuple[bytes, bytes], *, more_body: bool) -> None:
        """Let the ASGI application answer."""
        reader, shared = self._reader, self._shared
        exchange = Exchange(
            shared,
            reader,
            target,
            self.transport,
            self._flow_control(),
            keep_alive=self._keep_alive and not (shared.draining and not reader.pending),
            more_body=more_body,
            on_response=self._answered,
        )
        reader.receiver = exchange if more_body else None
        reader.next()
        self._exchange = exchange
        self._task = shared.start(self._run_exchange(exchange))

    async def _run_exchange(self, exchange: Exchange) -> None:
        await exchange.run()
        if not exchange.ended and not self._ending:
            self._end()  # the application broke off its answer

    def _hand_over(self) -> bool:
        """Let uvicorn's WebSocket protocol take the connection, if the request is for one."""
        reader, shared = self._reader, self._shared
        factory: Any = shared.config.ws_protocol_class
        if factory is None or reader.method != "GET":
            return False
        asked = [value.lower() for name, value in reader.fields if name == b"upgrade"]
        if b"websocket" not in asked or _CONTENT & {name for name, _ in reader.fields}:
            return False
        lines = [b"%b: %b\r\n" % field for field in reader.fields]
        head = b"%b %b HTTP/1.1\r\n" % (reader.method.encode("ascii"), reader.url)
        self._ending = self._deaf = True
        self.slot.discard(self)
        shared.state.connections.discard(self)
        protocol = factory(
            config=shared.config, server_state=shared.state, app_state=shared.app_state
        )
        protocol.connection_made(self.transport)
        protocol.data_received(b"".join([head, *lines, b"\r\n"]))
        self.transport.set_protocol(protocol)
        return True

    def _abandon(self) -> None:
        """Cancel the work for a dashboard's answer that is no longer wanted."""
        work, self._work = self._work, None
        if self._outlet is not None:
            self._outlet.close()
        if work is not None and (ending := work.cancel()):
            self._shared.start(cancel_and_wait(ending))

    # Answers

    def _respond(self, status: int, fields: Fields, body: bytes) -> None:
        """Send an answer; what endpoints call."""
        if not self._answering or self._lost:
            return
        if self._shared.draining and not self._reader.pending:
            self._keep_alive = False
        head = self._shared.head(status, fields, self._cross, close=not self._keep_alive)
        if self._head_only or not body:
            self.transport.write(head)
        elif len(body) <= _JOINED:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self._answered()

    def _begin(self, status: int, fields: Fields, data: bytes) -> StreamOutlet:
        """Begin an answer that is a stream; what endpoints call."""
        if self._shared.draining and not self._reader.pending:
            self._keep_alive = False
        chunked = self._reader.version != "1.0"
        if not chunked:
            self._keep_alive = False
        outlet = StreamOutlet(self.transport, self._answered, chunked=chunked, paused=self._paused)
        if not self._answering or self._lost:
            outlet.close()
            return outlet
        self._outlet = outlet
        head = self._shared.head(status, fields, self._cross, close=not self._keep_alive)
        if chunked:
            head = head[:-2] + b"transfer-encoding: chunked\r\n\r\n"
        self.transport.write(head + outlet.framed(data) if data else head)
        return outlet

    def _respond_with(self, response: Response) -> None:
        self._respond(response.status_code, Fields(response.raw_headers), bytes(response.body))

    def _report_bug(self) -> None:
        _log.exception("a dashboard failed")
        self._respond_with(bug())

    def _answered(self) -> None:
        """Go on after an answer: with the next request, or to the end."""
        self._answering = False
        self._task = None
        self._work = None
        self._outlet = None
        shared = self._shared
        shared.state.total_requests += 1
        if self._exchange is not None:
            if self._exchange.is_last:
                self._keep_alive = False
            self._exchange = None
            self._reader.receiver = None
        if self._lost or self._ending:
            return
        if not self._keep_alive or self.transport.is_closing():
            self._end()
            return
        self._timed = False
        if not self._paused:
            self._time_again()
        # Not from within: this request is still counted as in flight.
        if self._reader.pending and not self._sync:
            shared.loop.call_soon(self._advance)

    # Ends

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what the server does not take, and end."""
        self._shared.report(
            (str(refusal.status), refusal.detail),
            ClientLine("client_refused", self._client(), refusal.detail, refusal.status),
        )
        if self._answering:  # its content is at fault; the answer that is on its way is the last
            self._keep_alive = False
            self._deaf = True
            if self._exchange is not None:
                self._exchange.break_off(refusal)
            return
        if self._reader.phase == _BODY and not self._reader.headed:  # the answer has been sent
            self._end()
            return
        self._answering = self._deaf = True
        self._keep_alive = False
        cors = self._shared.cors
        if cors is not None:  # its fields may not have been read
            reader = self._reader
            self._cross = cors.of(reader.method, reader.fields) if reader.headed else cors.unknown
        self._head_only = self._reader.headed and self._reader.method == "HEAD"
        self._respond_with(refusal.problem())

    def _end(self) -> None:
        """Close once the client has what was sent."""
        reader, transport, shared = self._reader, self.transport, self._shared
        unread = bool(reader.pending) or reader.phase != _BETWEEN
        # What the system has not given us yet would reset the connection too; it comes in a drain.
        linger = self._deaf or unread or shared.draining
        self._ending = self._deaf = True
        reader.pending.clear()
        if linger and not transport.is_closing() and self._can_linger():
            self._regulate()
            transport.write_eof()
            self._within(shared.limits.send_time if self._paused else _LINGER)
        else:
            transport.close()
            self._within(shared.limits.send_time)

    def _can_linger(self) -> bool:
        return self.transport.can_write_eof() and self._shared.may_linger()

    def _drop(self, size: int) -> None:
        self._fed += size
        if self._fed > _LINGER_BYTES:
            self._abort()

    def _abort(self) -> None:
        self._ending = self._deaf = True
        self.transport.abort()

    # Time

    def ring(self) -> None:
        """Act if the time has passed; else wait for what is left of it."""
        self._due = inf
        if self._lost or self._deadline is inf:
            return
        left = self._deadline - self._shared.loop.time()
        if left > 0:
            self._set(left)
        else:
            self._expire()

    def _within(self, seconds: float) -> None:
        """Let the alarm ring in `seconds`, or a little later."""
        self._deadline = deadline = self._shared.loop.time() + seconds
        if deadline < self._due:
            self.slot.discard(self)
            self._set(seconds)

    def _set(self, seconds: float) -> None:
        self._due = self._deadline
        self._shared.wheel.set(self, seconds)

    def _time_head(self) -> None:
        """Start the time for a head, with its first byte."""
        if not self._timed:
            self._timed = True
            self._within(self._shared.limits.head_time)

    def _time_again(self) -> None:
        """Set the limit of time that is right for what the connection waits for."""
        limits = self._shared.limits
        phase = self._reader.phase
        if phase == _BODY:
            self._within(limits.body_time)
        elif self._answering:
            self._deadline = inf
        elif phase == _BETWEEN:
            self._within(limits.idle_time)
        else:
            self._within(limits.head_time)

    def _expire(self) -> None:
        """Cut the client off."""
        transport = self.transport
        unsent = transport.get_write_buffer_size()
        if unsent:
            if self._outlet is not None:
                self._unsent += self._outlet.added
                self._outlet.added = 0
            if not self._unsent or self._unsent - unsent >= _PROGRESS:
                self._unsent = unsent
                self._within(self._shared.limits.send_time)
                return
            self._cut_off("it did not read its answer")
        elif self._ending:
            self._abort()
        elif self._reader.phase == _HEAD:
            limit = self._shared.limits.head_time
            self._refuse(Refusal(408, f"the head of the request took longer than {limit:g} s"))
        elif self._reader.phase == _BODY:
            limit = self._shared.limits.body_time
            self._refuse(Refusal(408, f"the content of the request took longer than {limit:g} s"))
        elif not self._answering:
            self._end()

    def _cut_off(self, detail: str) -> None:
        line = ClientLine("client_cut_off", self._client(), detail)
        self._shared.report(("cut off", detail), line)
        found = self.transport.get_extra_info("socket")
        if found is not None:  # a reset: the system must not hold for it what it does not read
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._abort()

    # Flow

    def _flow_control(self) -> FlowControl:
        if self._flow is None:
            self._flow = FlowControl(self.transport)
        return self._flow

    def _regulate(self) -> None:
        """Read on only while little waits."""
        if self.transport.is_closing():
            return
        if len(self._reader.pending) >= _READ_AHEAD:
            self._flow_control().pause_reading()
        elif self._flow is not None:
            self._flow.resume_reading()

    def _client(self) -> str:
        address = get_remote_addr(self.transport)
        return address[0] if address else "unknown"
