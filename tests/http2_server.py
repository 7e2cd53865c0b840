"""An HTTP/2 server over TLS whose streams can be slow, hang, or answer with many frames."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Self

import h2.config
import h2.connection
import h2.events
import h2.settings

from tests.fault_server import Authority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Http2Connection(asyncio.Protocol):
    """The server's side of one connection; answers each request with its path."""

    def __init__(self, server: Http2Server) -> None:
        self.server = server
        settings = h2.config.H2Configuration(client_side=False)
        self.state = h2.connection.H2Connection(config=settings)
        self.transport: asyncio.Transport | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.server.connections.append(self)
        if self.server.streams is not None:
            self.state.local_settings.max_concurrent_streams = self.server.streams
            self.state.local_settings.acknowledge()
        else:
            # Leaves the number open, as many servers do.
            del self.state.local_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS]
        self.state.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.state.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                task = asyncio.get_running_loop().create_task(self.answer(event))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.server.lost += 1
        for task in self.tasks:
            task.cancel()

    async def answer(self, event: h2.events.RequestReceived) -> None:
        path = dict(event.headers)[b":path"]
        self.server.asked.append(path)
        await self.server.before(path)
        with contextlib.suppress(Exception):
            headers = [(":status", "200"), ("content-type", "text/plain")]
            self.state.send_headers(event.stream_id, headers)
            for frame in self.server.frames(path):
                self.state.send_data(event.stream_id, frame)
            self.state.end_stream(event.stream_id)
        self.flush()

    def flush(self) -> None:
        if self.transport is not None:
            self.transport.write(self.state.data_to_send())


async def at_once(_: bytes) -> None:
    """Answer without delay."""


class Http2Server:
    """Serves HTTP/2 on an ephemeral port of the loopback.

    Args:
        before: awaited before each answer.
        frames: the body of each answer, frame by frame; the path by default.
        streams: requests that each connection takes at once; `None` leaves it open.

    Attributes:
        connections: every connection that was made.
        lost: how many of them are gone.
        asked: the paths of all requests.
    """

    def __init__(
        self,
        *,
        before: Callable[[bytes], Awaitable[None]] = at_once,
        frames: Callable[[bytes], list[bytes]] = lambda path: [path],
        streams: int | None = 100,
    ) -> None:
        self.before = before
        self.frames = frames
        self.streams = streams
        self.connections: list[Http2Connection] = []
        self.lost = 0
        self.asked: list[bytes] = []
        self.port = 0
        self.authority = Authority()
        self.trusting = ssl.create_default_context()
        self.authority.ca.configure_trust(self.trusting)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        return len(self.connections) - self.lost

    async def __aenter__(self) -> Self:
        context = self.authority.context()
        context.set_alpn_protocols(["h2"])
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Http2Connection(self), "127.0.0.1", 0, ssl=context, backlog=256
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self.connections:
            if connection.transport is not None:
                connection.transport.abort()
