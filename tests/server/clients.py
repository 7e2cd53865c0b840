"""Clients of a connection: bytes in, bytes out, on a transport in memory and virtual time."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.server import ServerState

from gateway.server.connections import Connections
from gateway.server.limits import Limits
from gateway.server.reader import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.server.protocol import Connection

__all__ = ["Answer", "Client", "Server", "answers", "through_asgi"]

HIGH_WATER = 64 * 1024
_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


class Transport(asyncio.Transport):
    """A transport whose other end is the test."""

    def __init__(self, protocol: Connection) -> None:
        super().__init__()
        self._protocol = protocol
        self.written = bytearray()
        self.unread = bytearray()
        self.reads = True
        self.reading = True
        self.paused = False
        self.closing = False
        self.lost = False
        self.ended = False
        self.writes = 0

    def write(self, data: Any) -> None:
        self.writes += 1
        if self.closing or self.ended:
            return
        if self.reads:
            self.written += data
            return
        self.unread += data
        if len(self.unread) > HIGH_WATER and not self.paused:
            self.paused = True
            self._protocol.pause_writing()

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def read(self, count: int | None = None) -> None:
        """Let the client read, all of it or `count` bytes."""
        if count is None:
            self.reads, count = True, len(self.unread)
        self.written += self.unread[:count]
        del self.unread[:count]
        if self.paused and len(self.unread) <= HIGH_WATER // 4:
            self.paused = False
            self._protocol.resume_writing()
        self._finish()

    def get_write_buffer_size(self) -> int:
        return len(self.unread)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True
        self._finish()

    def abort(self) -> None:
        self.closing = True
        self.unread.clear()
        self._finish()

    def _finish(self) -> None:
        if self.closing and not self.unread and not self.lost:
            self.lost = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("192.0.2.1", 1234), "sockname": ("192.0.2.2", 80)}.get(name, default)


class Server:
    """What uvicorn does for the connections of an application."""

    def __init__(self, app: Any, limits: Limits | None = None) -> None:
        http: Any = Connections(limits or Limits())
        self.connections: Connections = http
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        self.config = uvicorn.Config(
            app,
            http=http,
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        self.config.load()

    def client(self) -> Client:
        return Client(self)


class Client:
    """One client; `send` and then look at `answers`."""

    def __init__(self, server: Server) -> None:
        loop = asyncio.get_running_loop()
        self.connection = server.connections(server.config, server.state, {}, loop)
        self.transport = Transport(self.connection)
        self.connection.connection_made(self.transport)

    def send(self, data: bytes) -> None:
        if not self.transport.lost:
            self.connection.data_received(data)

    def send_in(self, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            self.send(piece)

    def leave(self) -> None:
        self.transport.closing = self.transport.lost = True
        self.connection.connection_lost(ConnectionResetError())

    @property
    def received(self) -> bytes:
        return bytes(self.transport.written)

    @property
    def answers(self) -> list[Answer]:
        return answers(self.received)

    @property
    def quiet(self) -> bool:
        """Whether the server has done all that can be done with what was sent."""
        one = self.connection
        waits = one._reader.pending and not one._deaf and not one._paused
        return bool(self.transport.lost or not (one._answering or waits))

    @property
    def waits(self) -> bool:
        """Whether the server waits for the rest of a request's content."""
        return self.connection._reader.phase == Phase.BODY

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection, or its side of it."""
        return self.transport.ended or self.transport.closing


class Answer:
    """One answer, taken apart."""

    def __init__(self, status: int, fields: dict[str, str], body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body

    def __repr__(self) -> str:
        return f"<{self.status} {self.fields} {self.body[:60]!r}>"


def answers(received: bytes, *, head: bool = False) -> list[Answer]:
    """Take the answers apart that a client has received; `head`: to HEAD requests."""
    found = []
    at = 0
    while at < len(received):
        match = _HEAD.match(received, at)
        assert match is not None, received[at : at + 200]
        lines = match[2].decode("latin-1").split("\r\n")[:-1]
        fields = dict(line.split(": ", 1) for line in lines)
        assert len(fields) == len(lines), lines
        at = match.end()
        if "transfer-encoding" in fields:
            body, at = _dechunked(received, at)
        else:
            length = 0 if head else int(fields.get("content-length", "0"))
            body = received[at : at + length]
            assert len(body) == length
            at += length
        found.append(Answer(int(match[1]), fields, body))
    return found


def _dechunked(received: bytes, at: int) -> tuple[bytes, int]:
    body = b""
    while True:
        end = received.index(b"\r\n", at)
        size = int(received[at:end], 16)
        at = end + 2
        body += received[at : at + size]
        at += size + 2
        if not size:
            return body, at


def through_asgi(app: Any) -> Any:
    """Return the application with a middleware, so that every request goes through ASGI."""

    class Nothing:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    app.add_middleware(Nothing)
    return app
