"""The server of one process: uvicorn's, with signals and a drain that lose no request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import uvicorn
from uvicorn.server import ServerState

from gateway.server.connections import Connections
from gateway.server.listening import readable, turn_away

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType

    from gateway.web.lifecycle import Lifecycle

__all__ = ["Drain", "Drainable", "Server", "State"]

_log = logging.getLogger("gateway.server")

_STEP = 0.05
_QUIET = 0.5
"""Seconds without a byte after which a connection without a request is taken to be idle."""
_HANDSHAKE = 0.2
"""Seconds for connections that are being established when new ones are turned away."""
_LAST_WORDS = 1.0
"""Seconds to write the last answers and to close the application, once it has to end at once."""


class Drain(NamedTuple):
    """How a process ends.

    Attributes:
        delay: seconds that it goes on serving after SIGTERM, so that load balancers can notice.
        seconds: seconds that requests in flight have after that.
    """

    delay: float = 5.0
    seconds: float = 20.0


class Drainable(Protocol):
    """What the server asks of a connection that drains.

    While `State.lifecycle` says that the process drains, the last answer of each connection carries
    `Connection: close`.
    """

    transport: asyncio.Transport

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered, and the connection is open."""

    def fileno(self) -> int:
        """Return the descriptor of the socket; -1 once it is closed."""

    def announce(self) -> None:
        """Say `Connection: close` in the answer under way, if its head has not been sent."""

    def close_idle(self) -> None:
        """Close the connection, which is idle, without a reset."""

    def give_up(self) -> None:
        """Answer with 503 what has no answer, cut off an answer that has begun, and close."""


class State(ServerState):
    """What the connections of a server share.

    Attributes:
        lifecycle: whether the process drains.
    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        super().__init__()
        self.lifecycle = lifecycle


class Server(uvicorn.Server):
    """Serves an application until it is told to end, then drains.

    SIGTERM ends it after a drain. So does SIGINT (Ctrl+C), without the delay for load balancers. A
    second one of either ends it at once. SIGHUP never ends it.

    Args:
        config: uvicorn's; its protocol makes connections that are `Drainable`.
        lifecycle: the application's; its `draining` is set as soon as the drain begins.
        drain: how long the drain may take.
        on_started: called once the server accepts connections.
        on_hangup: called at SIGHUP.
        handles_signals: false where another process decides, as for a worker.

    Attributes:
        announced: the drain has begun, and every connection knows.
        clean: the application was closed; false if it did not close in time at a forced end.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        lifecycle: Lifecycle,
        drain: Drain,
        *,
        on_started: Callable[[], None] | None = None,
        on_hangup: Callable[[], None] | None = None,
        handles_signals: bool = True,
    ) -> None:
        super().__init__(config)
        self.server_state = State(lifecycle)
        self.announced = False
        self.clean = True
        self._lifecycle = lifecycle
        self._drain = drain
        self._delay = drain.delay
        self._on_started = on_started
        self._on_hangup = on_hangup
        self._handles_signals = handles_signals

    def end(self, *, delay: bool = True) -> None:
        """Begin the drain; called again, end at once.

        Args:
            delay: go on serving for the configured delay first.
        """
        if self.should_exit:
            self.force_exit = True
            return
        self._lifecycle.draining = True  # at once: a probe may ask before the loop's next step
        if not delay or not self.started:
            self._delay = 0.0
        self.should_exit = True

    def hang_up(self) -> None:
        """Do what SIGHUP asks for."""
        if self._on_hangup is None:
            _log.info("SIGHUP is ignored: there is nothing to reload")
        else:
            self._on_hangup()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's
        """Handle SIGTERM and SIGINT."""
        self.end(delay=sig != signal.SIGINT)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals in the main thread; the ends that they ask for are not errors."""
        in_main = threading.current_thread() is threading.main_thread()
        if not (self._handles_signals and in_main):
            yield
            return
        handlers: dict[int, Any] = {
            signal.SIGTERM: self.handle_exit,
            signal.SIGINT: self.handle_exit,
        }
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = lambda *_: self.hang_up()
        before = {number: signal.signal(number, handle) for number, handle in handlers.items()}
        try:
            yield
        finally:
            for number, handle in before.items():
                signal.signal(number, handle)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the application, then accept connections."""
        await super().startup(sockets)
        # The application's lifespan begins a new life; the end may have been asked for before.
        self._lifecycle.draining = self.should_exit
        if self._on_started is not None:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then close the application."""
        ticking = asyncio.create_task(self._tick())
        try:
            await self._drain_connections(sockets or _sockets(self.servers))
        finally:
            ticking.cancel()
        await self._close_application()
        connections: Any = self.config.http_protocol_class
        if isinstance(connections, Connections):
            connections.close()

    async def _tick(self) -> None:
        # uvicorn's main loop, which renews the Date field, ends before the drain.
        counter = 0
        while True:
            await self.on_tick(counter)
            counter += 1
            await asyncio.sleep(0.1)

    async def _drain_connections(self, listeners: list[socket.socket]) -> None:
        state = self.server_state
        now = asyncio.get_running_loop().time
        idle = _Idle(state.connections)
        self._lifecycle.draining = True
        for connection in _connections(state.connections):
            connection.announce()
        self.announced = True
        _log.info("draining: serving for %g s, then finishing what is in flight", self._delay)
        ends = now() + self._delay
        await self._until(ends, lambda: idle.look(now()))
        self._lifecycle.end_streams()
        ends += self._drain.seconds
        # Clients whose idle connection is closed may connect again. They are still served.
        await self._until(ends, lambda: not idle.close(now()))
        await self._stop_listening(listeners, ends)
        await self._until(ends, lambda: not (idle.close(now()) or state.connections or state.tasks))
        await self._give_up()

    async def _stop_listening(self, listeners: list[socket.socket], ends: float) -> None:
        """Accept what waits to be accepted, then close the sockets."""
        if listeners and not self.force_exit:
            now = asyncio.get_running_loop().time
            if turn_away(listeners):
                await asyncio.sleep(_HANDSHAKE)
            else:  # new connections may arrive for ever
                ends = min(ends, now() + _LAST_WORDS)
            waiting = [listener.fileno() for listener in listeners]
            await self._until(ends, lambda: not readable(waiting))
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()

    async def _give_up(self) -> None:
        """Answer what is left with 503 and end its tasks."""
        state = self.server_state
        left = [one for one in _connections(state.connections) if not one.transport.is_closing()]
        if busy := sum(not one.is_idle for one in left):
            _log.warning("%d requests were not finished in time and got 503", busy)
        for connection in left:
            connection.give_up()
        for task in list(state.tasks):
            task.cancel()
        ends = asyncio.get_running_loop().time() + _LAST_WORDS
        if state.tasks:
            await asyncio.wait(set(state.tasks), timeout=_LAST_WORDS)
        await self._until(ends, lambda: not state.connections)

    async def _until(self, ends: float, holds: Callable[[], object]) -> None:
        """Wait until `holds()` is true, or `ends` comes, or the process has to end at once."""
        now = asyncio.get_running_loop().time
        while not (holds() or self.force_exit or now() >= ends):
            await asyncio.sleep(min(_STEP, ends - now()))

    async def _close_application(self) -> None:
        closing = asyncio.create_task(self.lifespan.shutdown())
        while not closing.done() and not self.force_exit:
            await asyncio.wait([closing], timeout=_STEP)
        if not closing.done():
            await asyncio.wait([closing], timeout=_LAST_WORDS)
        self.clean = closing.done()
        if not self.clean:
            _log.warning("the application did not close within %g s", _LAST_WORDS)


class _Idle:
    """Knows for how long each idle connection has been idle."""

    def __init__(self, connections: Iterable[Any]) -> None:
        self._connections = connections
        self._since: dict[Drainable, float] = {}

    def look(self, now: float) -> None:
        """Look at all connections."""
        since = self._since
        self._since = {
            one: since.get(one, now) for one in _connections(self._connections) if one.is_idle
        }

    def close(self, now: float) -> int:
        """Close those that have been quiet for a while and have received nothing right now.

        Returns:
            the number of idle connections that are left.
        """
        self.look(now)
        quiet = {one.fileno(): one for one, since in self._since.items() if now - since >= _QUIET}
        arrived = readable(list(quiet))
        for descriptor, connection in quiet.items():
            if descriptor not in arrived:
                connection.close_idle()
                del self._since[connection]
        return len(self._since)


def _connections(connections: Iterable[Any]) -> list[Drainable]:
    # Another protocol may have taken a connection over.
    return [one for one in connections if hasattr(one, "announce")]


def _sockets(servers: Iterable[asyncio.Server]) -> list[socket.socket]:
    return [one for server in servers for one in server.sockets]
