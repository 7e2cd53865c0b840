"""A pool of httpcore connections to one origin.

It replaces httpcore's own pool, which loses slots for good when a call is cancelled while it waits
for one (encode/httpcore#1093), and which reuses connections that still hold unread bytes. The
connections themselves implement HTTP/1.1, HTTP/2 and proxies.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import httpx

from gateway.transport.failures import closed_failure
from gateway.transport.quarantine import Quarantine
from gateway.transport.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from httpcore import AsyncConnectionInterface

    from gateway.transport.bounds import Bounds
    from gateway.transport.origin import Origin
    from gateway.transport.pools import PoolLimits

__all__ = ["Channel", "Channels"]

T = TypeVar("T")

# Seconds that an HTTP/2 exchange may continue after its caller was cancelled.
_FINISH = 5.0
# A connection is retired when exchanges whose caller was cancelled use more than a quarter of it.
_LEFT_AT_MOST = 4
_GONE = 1.0


class Channel:
    """One httpcore connection, and the exchanges on it.

    Attributes:
        connection: httpcore's connection.
        sockets: the network backend of `connection`.
        multiplexes: it may negotiate HTTP/2.
        decided: the protocol is known.
        http2: it speaks HTTP/2.
        capacity: concurrent exchanges that it accepts.
        in_use: exchanges in flight on it.
        left: exchanges whose caller was cancelled, each with the timer that limits it.
        tasks: exchanges that run in a task of their own.
        served: exchanges that returned a complete answer.
        retired: it accepts no further exchanges.
        closed: it is closed.
        ready: it is in the list of channels with room.
        idle_since: the loop's time at which its last exchange ended.
    """

    __slots__ = (
        "capacity",
        "closed",
        "connection",
        "decided",
        "http2",
        "idle_since",
        "in_use",
        "left",
        "multiplexes",
        "ready",
        "retired",
        "served",
        "sockets",
        "tasks",
    )

    connection: AsyncConnectionInterface
    sockets: Sockets

    def __init__(self, *, multiplexes: bool) -> None:
        self.multiplexes = multiplexes
        self.decided = not multiplexes
        self.http2 = False
        self.capacity = 1
        self.in_use = 0
        self.left: dict[asyncio.Task[object], asyncio.TimerHandle] = {}
        self.tasks: set[asyncio.Task[object]] = set()
        self.served = 0
        self.retired = False
        self.closed = False
        self.ready = False
        self.idle_since = 0.0


class Channels:
    """Connections to one origin.

    A *slot* is the right to have one connection. An HTTP/1.1 connection carries one exchange at a
    time and is closed when its caller is cancelled. An HTTP/2 connection carries as many as the
    server allows; an exchange whose caller is cancelled runs to its end, because httpcore's HTTP/2
    cannot be cancelled safely. An exchange that does not end soon, or fails, retires its
    connection: it accepts no further exchanges and closes after the last one that a caller awaits.

    Every path out of an exchange ends in `_release`, which is synchronous, so a cancellation cannot
    lose a slot.

    Args:
        origin: the server to connect to.
        make: returns httpcore's connection over the given sockets.
        limits: limits on the connections; `max_connections` is the number of slots.
        multiplexes: a connection may negotiate HTTP/2.
        bounds: limits on each answer.
    """

    def __init__(
        self,
        origin: Origin,
        make: Callable[[Sockets], AsyncConnectionInterface],
        limits: PoolLimits,
        *,
        multiplexes: bool,
        bounds: Bounds,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._make = make
        self._multiplexes = multiplexes
        self._max_connections = limits.max_connections
        self._max_idle = limits.most_idle
        self._idle_age = limits.idle_age
        self._bounds = bounds
        self._quarantine = Quarantine(str(origin), seconds=limits.quarantine, clock=self._loop.time)
        self._channels: set[Channel] = set()
        self._ready: list[Channel] = []
        self._undecided: Channel | None = None
        self._queue: deque[asyncio.Future[Channel]] = deque()
        self._going: set[Sockets] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self._drained: asyncio.Future[None] | None = None

    @property
    def slots(self) -> int:
        """Slots in use: connections that are idle, busy or connecting."""
        return len(self._channels)

    @property
    def idle(self) -> int:
        """Idle connections."""
        return sum(not channel.in_use for channel in self._channels)

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    @property
    def quarantined(self) -> bool:
        """Whether HTTP/1.1 connections serve one request each, for now."""
        return self._quarantine.active

    async def acquire(self, *, fresh: bool = False) -> Channel:
        """Return a channel with room for one exchange; `run` releases it.

        Args:
            fresh: prefer a new connection to an HTTP/1.1 connection that has served before.

        Raises `httpx.ConnectError` when the transport is closed.
        """
        if self._closed:
            raise closed_failure()
        if fresh:
            self._make_room()
        if not self._queue:
            channel = self._next(fresh=fresh)
            if channel is not None:
                return channel
        waiter: asyncio.Future[Channel] = self._loop.create_future()
        self._queue.append(waiter)
        try:
            return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # Cancelled after it was given a channel and before it ran.
                self._release(waiter.result(), unused=True)
            raise
        finally:
            with suppress(ValueError):
                self._queue.remove(waiter)

    async def run(self, channel: Channel, exchange: Coroutine[object, object, T]) -> T:
        """Run `exchange` on `channel`, which `acquire` returned, and release it.

        Raises what it raises, and `httpx.ReadError` when the transport is closed.
        """
        if not channel.multiplexes:
            whole = False
            try:
                answer = await exchange
                whole = True
            finally:
                self._release(channel, whole=whole)
            return answer
        task = self._loop.create_task(exchange)
        channel.tasks.add(task)
        task.add_done_callback(lambda task: self._ended(channel, task))
        try:
            # Not `shield`: it reports the failure of an exchange without a caller.
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            if not task.done():
                self._leave(channel, task)
            raise
        if task.cancelled():
            # By `aclose`; only its caller's own cancellation may reach a caller.
            raise httpx.ReadError("the transport was closed")
        return task.result()

    def decide(self, channel: Channel, capacity: int, *, http2: bool) -> None:
        """Record the protocol of `channel` and how many concurrent exchanges it accepts."""
        channel.decided = True
        channel.http2 = http2
        # HTTP/1.1 connections are opened in parallel.
        self._multiplexes = http2
        if self._undecided is channel:
            self._undecided = None
        if not http2:
            channel.multiplexes = False
            channel.retired |= bool(channel.left)
        elif channel.multiplexes:
            # Any other channel runs its exchange in the caller's task, where a cancellation reaches
            # it and could break others on the connection. So it keeps a capacity of 1.
            channel.capacity = capacity
        self._settle(channel)

    async def aclose(self) -> None:
        """Close every connection, fail every call in flight and wait for the sockets to close."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for waiter in self._queue:
            if not waiter.done():
                waiter.set_exception(closed_failure())
        for channel in tuple(self._channels):
            self._close(channel)
        if self._going:
            self._drained = self._loop.create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(_GONE):
                    await self._drained

    # Inner parts

    def _next(self, *, fresh: bool = False) -> Channel | None:
        """Return a channel with one more exchange on it, `None` if the call has to wait."""
        channel: Channel | None = None
        if self._ready and not (fresh and not self._ready[-1].http2):
            # The most recently used connection is the most likely to be alive.
            channel = self._ready[-1]
        elif self._undecided is None and len(self._channels) < self._max_connections:
            channel = self._open()
        elif self._ready:
            channel = self._ready[-1]
        if channel is not None:
            channel.in_use += 1
            self._list(channel)
        return channel

    def _open(self) -> Channel:
        channel = Channel(multiplexes=self._multiplexes)
        channel.sockets = Sockets(
            self._bounds,
            ended=lambda: self._lost(channel),
            surplus=self._surplus,
        )
        channel.connection = self._make(channel.sockets)
        self._channels.add(channel)
        if not channel.decided:
            self._undecided = channel
        return channel

    def _make_room(self) -> None:
        """Close an idle connection when all slots are in use."""
        if len(self._channels) >= self._max_connections:
            for channel in self._ready:
                if not channel.in_use:
                    self._close(channel)
                    return

    def _release(self, channel: Channel, *, whole: bool = False, unused: bool = False) -> None:
        """Remove one exchange from `channel`."""
        channel.in_use -= 1
        if channel.closed:
            return
        if whole:
            channel.served += 1
            if channel.http2:
                channel.retired |= not channel.connection.is_available()
            else:
                # `finish` goes first: it also reports bytes after the end of the answer.
                clean = channel.sockets.finish() and channel.connection.is_available()
                channel.retired |= not clean or bool(
                    self._quarantine.until and self._quarantine.active
                )
        elif not unused or not (channel.in_use or channel.served):
            # The exchange failed, or the connection was never used and no exchange is left
            # to open it.
            channel.retired = True
        self._settle(channel)

    def _ended(self, channel: Channel, task: asyncio.Task[object]) -> None:
        channel.tasks.discard(task)
        timer = channel.left.pop(task, None)
        if timer is not None:
            timer.cancel()
        whole = not task.cancelled() and task.exception() is None
        self._release(channel, whole=whole)

    def _leave(self, channel: Channel, task: asyncio.Task[object]) -> None:
        """Let an exchange continue without its caller, or end it with its connection."""

        def overdue() -> None:
            channel.retired = True
            self._settle(channel)

        channel.left[task] = self._loop.call_later(_FINISH, overdue)
        if channel.decided and len(channel.left) * _LEFT_AT_MOST > channel.capacity:
            channel.retired = True
        self._settle(channel)

    def _settle(self, channel: Channel) -> None:
        """Apply a change of state of `channel`: close it, list it, serve the queue."""
        if channel.closed:
            return
        if channel.retired:
            if channel.in_use <= len(channel.left):
                self._close(channel)
                return
        elif not channel.in_use:
            if self._max_idle < self._max_connections and self.idle > self._max_idle:
                self._close(channel)
                return
            channel.idle_since = self._loop.time()
            if self._sweep is None:
                self._sweep = self._loop.call_later(self._idle_age, self._close_aged)
        self._list(channel)
        self._serve()

    def _list(self, channel: Channel) -> None:
        """Add `channel` to the channels with room, or remove it."""
        room = channel.decided and not channel.retired and channel.in_use < channel.capacity
        if room is channel.ready:
            return
        channel.ready = room
        if room:
            self._ready.append(channel)
        elif self._ready[-1] is channel:
            self._ready.pop()
        else:
            self._ready.remove(channel)

    def _serve(self) -> None:
        """Give channels to the calls in the queue, in order."""
        while self._queue and not self._closed:
            if self._queue[0].done():
                self._queue.popleft()
                continue
            channel = self._next()
            if channel is None:
                return
            self._queue.popleft().set_result(channel)

    def _close(self, channel: Channel) -> None:
        channel.closed = channel.retired = True
        self._list(channel)
        self._channels.discard(channel)
        if self._undecided is channel:
            self._undecided = None
        if not channel.sockets.gone:
            self._going.add(channel.sockets)
        channel.sockets.abort()
        for timer in channel.left.values():
            timer.cancel()
        # No other exchange is left on it that a cancellation could break.
        for task in channel.tasks:
            task.cancel()
        self._serve()

    def _lost(self, channel: Channel) -> None:
        """Handle the end of the connection, from the server or of the socket."""
        if channel.sockets.gone:
            self._going.discard(channel.sockets)
            if not self._going and self._drained is not None and not self._drained.done():
                self._drained.set_result(None)
        if not channel.closed:
            channel.retired = True
            self._settle(channel)

    def _surplus(self) -> None:
        """Start a quarantine and close idle connections, which may hold more surplus bytes."""
        self._quarantine.report()
        for channel in [one for one in self._channels if not one.in_use and not one.http2]:
            self._close(channel)

    def _close_aged(self) -> None:
        """Close connections that have been idle for too long."""
        self._sweep = None
        idle = [channel for channel in self._channels if not channel.in_use]
        horizon = self._loop.time() - self._idle_age
        for channel in idle:
            if channel.idle_since <= horizon:
                self._close(channel)
        rest = [channel.idle_since for channel in idle if not channel.closed]
        if rest:
            self._sweep = self._loop.call_at(min(rest) + self._idle_age, self._close_aged)
