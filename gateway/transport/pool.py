"""A pool of HTTP/1.1 connections to one origin."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

import httpx

from gateway.transport.connection import Connection
from gateway.transport.failures import closed_failure, connect_failure
from gateway.transport.quarantine import Quarantine
from gateway.transport.reader import Readers

if TYPE_CHECKING:
    import ssl

    from gateway.transport.bounds import Bounds
    from gateway.transport.origin import Origin
    from gateway.transport.pools import PoolLimits

__all__ = ["Pool"]

_TLS_GOODBYE = 1.0
# A connecting socket takes several times the memory of an open connection, and too many of them
# overflow the server's backlog.
_AT_ONCE = 256


class Pool:
    """Connections to one origin.

    A *slot* is the right to have one connection. A caller holds the slot of its connection from
    `take` or `acquire` until `release`. `release` passes the connection, or the slot of one that is
    not reusable, to the first waiter in the queue. Every path out of an exchange ends there, so a
    cancellation cannot lose a slot.

    Args:
        origin: the server to connect to.
        limits: limits on the connections; `max_connections` is the number of slots, and
            `connect_timeout` covers DNS, TCP and TLS together.
        context: TLS context of an `https` origin.
        bounds: limits on each answer.
    """

    def __init__(
        self,
        origin: Origin,
        limits: PoolLimits,
        *,
        context: ssl.SSLContext | None,
        bounds: Bounds,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._origin = origin
        self._readers = Readers(bounds)
        self._max_connections = limits.max_connections
        self._max_idle = limits.most_idle
        self._idle_age = limits.idle_age
        self._connect_timeout = limits.connect_timeout
        self._quarantine = Quarantine(str(origin), seconds=limits.quarantine, clock=self.loop.time)
        # asyncio's happy eyeballs are not used: a cancellation can make them leak a socket.
        self._options: dict[str, Any] = {}
        if context is not None:
            self._options["ssl"] = context
            self._options["server_hostname"] = origin.server_hostname
            self._options["ssl_shutdown_timeout"] = _TLS_GOODBYE
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._queue: deque[asyncio.Future[Connection | None]] = deque()
        self._connecting: set[asyncio.Timeout] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._slots = 0
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self._drained: asyncio.Future[None] | None = None

    @property
    def slots(self) -> int:
        """Slots in use: connections that are idle, busy or connecting."""
        return self._slots

    @property
    def idle(self) -> int:
        """Idle connections."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return len(self._queue)

    @property
    def quarantined(self) -> bool:
        """Whether connections serve one request each, for now."""
        return self._quarantine.active

    def take(self) -> Connection | None:
        """Return the most recently used idle connection, `None` if there is none.

        It is the most likely to be alive, and the others can reach their idle age.
        """
        return self._idle.pop() if self._idle else None

    async def acquire(self, deadline: float = inf) -> Connection:
        """Return a new connection or, when all slots are in use, the next one released.

        Args:
            deadline: the loop's time by which the connection is needed.

        Raises:
            httpx.PoolTimeout: no slot became free in time.
            httpx.ConnectTimeout: no connection was established in time.
            httpx.ConnectError: the connection failed, or the pool is closed.
        """
        if self._closed:
            raise closed_failure()
        if self._slots < self._max_connections:
            self._slots += 1
        else:
            connection = await self._wait(deadline)
            if connection is not None:
                return connection
        try:
            return await self.connect(deadline)
        except BaseException:
            self._pass_on_slot()
            raise

    async def connect(self, deadline: float = inf) -> Connection:
        """Return a new connection on a slot that the caller holds.

        The number of concurrent attempts is bounded; the wait counts as connecting.
        """
        limit = min(self._connect_timeout, deadline - self.loop.time())
        connection = Connection(self.loop, self._readers, self)
        try:
            async with asyncio.timeout(limit) as scope:
                self._connecting.add(scope)
                try:
                    async with self._turns:
                        await self.loop.create_connection(
                            lambda: connection,
                            self._origin.host,
                            self._origin.port,
                            **self._options,
                        )
                finally:
                    self._connecting.discard(scope)
        except (OSError, UnicodeError) as error:
            connection.abort()
            raise (closed_failure() if self._closed else connect_failure(error)) from error
        except BaseException:
            connection.abort()
            raise
        if self._closed:
            connection.abort()
            raise closed_failure()
        if connection.open:
            # Counted here and not in `connection_made`: uvloop does not call `connection_lost` for
            # a connection whose creation was cancelled in its last turn.
            self._open.add(connection)
        return connection

    def release(self, connection: Connection) -> None:
        """Release a connection that `take`, `acquire` or `connect` returned."""
        if (
            connection.reusable
            and not self._closed
            # Most origins are never quarantined, and reading the clock costs more than this.
            and not (self._quarantine.until and self._quarantine.active)
        ):
            if self._queue and self._hand(connection):
                return
            if len(self._idle) < self._max_idle:
                connection.idle_since = self.loop.time()
                self._idle.append(connection)
                if self._sweep is None:
                    self._sweep = self.loop.call_later(self._idle_age, self._close_aged)
                return
        connection.abort()
        self._pass_on_slot()

    def give_up(self, connection: Connection) -> None:
        """Release the slot of a connection that is not reusable; it closes by itself."""
        assert not connection.reusable  # noqa: S101 - `release` is for the others
        self._pass_on_slot()

    async def aclose(self) -> None:
        """Close every connection, fail every call in flight and wait for the sockets to close."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for waiter in self._queue:
            if not waiter.done():
                waiter.set_exception(closed_failure())
        for scope in self._connecting:
            scope.reschedule(self.loop.time())
        self._slots -= len(self._idle)
        self._idle.clear()
        for connection in tuple(self._open):
            connection.abort(httpx.ReadError("the transport was closed"))
        if self._open:
            self._drained = self.loop.create_future()
            await self._drained

    # Owner

    def retired(self, connection: Connection) -> None:
        """Remove a connection that is not reusable; free its slot if it is idle."""
        if connection in self._idle:
            self._idle.remove(connection)
            self._pass_on_slot()

    def lost(self, connection: Connection) -> None:
        """Remove a socket from those that `aclose` waits for."""
        self._open.discard(connection)
        if not self._open and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def surplus(self) -> None:
        """Start a quarantine and close idle connections, which may hold more surplus bytes."""
        self._quarantine.report()
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()
            self._pass_on_slot()

    # Inner parts

    async def _wait(self, deadline: float) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = self.loop.create_future()
        alarm = None if deadline == inf else self.loop.call_at(deadline, _give_up, waiter)
        self._queue.append(waiter)
        try:
            return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # Cancelled after it was given a slot and before it ran.
                connection = waiter.result()
                if connection is None:
                    self._pass_on_slot()
                else:
                    self.release(connection)
            raise
        finally:
            if alarm is not None:
                alarm.cancel()
            with suppress(ValueError):
                self._queue.remove(waiter)

    def _hand(self, what: Connection | None) -> bool:
        """Give a connection, or a slot, to the first waiter that still waits."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(what)
                return True
        return False

    def _pass_on_slot(self) -> None:
        if self._closed or not self._hand(None):
            self._slots -= 1

    def _close_aged(self) -> None:
        """Close connections that have been idle for too long; the list starts with the oldest."""
        self._sweep = None
        horizon = self.loop.time() - self._idle_age
        aged = 0
        for connection in self._idle:
            if connection.idle_since > horizon:
                break
            aged += 1
        for connection in self._idle[:aged]:
            connection.abort()
        del self._idle[:aged]
        self._slots -= aged
        if self._idle:
            self._sweep = self.loop.call_at(
                self._idle[0].idle_since + self._idle_age, self._close_aged
            )


def _give_up(waiter: asyncio.Future[Connection | None]) -> None:
    if not waiter.done():
        waiter.set_exception(httpx.PoolTimeout("no connection became free in time"))
