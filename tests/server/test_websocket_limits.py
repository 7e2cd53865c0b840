"""What a hostile client of a WebSocket can cause, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import struct
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
import respx
from websockets.server import ServerProtocol

from gateway.commands.serving import open_server
from gateway.config.settings import Settings
from gateway.server import WebSocketConnection, listen
from tests.serving import application
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.runtime import Runtime
    from gateway.server import Server
    from gateway.web.application import Application

TEXT = """
web: {websocket: {}}
upstreams: {a: {base_url: http://a.test}}
dashboards:
  d: {path: "/d/{id}", parameters: {id: {type: integer}}, sections: {x: {get: "a:/x/{id}"}}}
"""
HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: it\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n"
)
MORE, TEXT_FRAME, CLOSE, PING, PONG = 0, 1, 8, 9, 10


def frame(kind: int, data: bytes = b"", *, last: bool = True) -> bytes:
    """Return a frame of a client, masked with zeros."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
    return bytes([last << 7 | kind]) + size + bytes(4) + data


def subscribe(name: str, path: str) -> bytes:
    return frame(TEXT_FRAME, json.dumps({"subscribe": name, "path": path}).encode())


class Client(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def frame(self) -> tuple[int, bytes]:
        """Return the kind and the data of the next frame."""
        async with asyncio.timeout(20):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack(">H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", await self.reader.readexactly(8))
            return first & 15, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        kind, data = await self.frame()
        assert kind == CLOSE, data
        return int.from_bytes(data[:2], "big")


class Running(NamedTuple):
    app: Application[Runtime]
    server: Server
    port: int
    clients: list[Client]

    async def ask(self, head: str) -> tuple[Client, bytes]:
        """Return a connection, and the first line of its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2048)
        client = Client(reader, writer)
        self.clients.append(client)
        writer.write(head.encode())
        async with asyncio.timeout(20):
            answer = await reader.readuntil(b"\r\n\r\n")
        return client, answer.split(b"\r\n")[0]

    async def open(self) -> Client:
        client, line = await self.ask(HANDSHAKE.format("/live", ""))
        assert line.split()[1] == b"101"
        return client

    @property
    def connection(self) -> WebSocketConnection:
        (found,) = [
            one
            for one in self.server.server_state.connections
            if isinstance(one, WebSocketConnection)
        ]
        return found


@pytest.fixture(autouse=True)
def upstream() -> Iterator[None]:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json="x" * 50_000 + request.url.path)

    with respx.mock(base_url="http://a.test", assert_all_called=False) as router:
        router.get(path__regex=".*").mock(side_effect=answer)
        yield


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Running]:
    app = application(TEXT)
    server = open_server(app, Settings(redis_url=None, drain_delay=0), handles_signals=False)
    (listener,) = listen("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve([listener]))
    await until(lambda: server.started)
    clients: list[Client] = []
    try:
        yield Running(app, server, listener.getsockname()[1], clients)
    finally:
        for client in clients:
            client.writer.transport.abort()
        server.end(delay=False)
        server.end()
        await serving


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_pings_of_a_client_that_does_not_read_wait() -> None:
    many = 60_000
    async with running() as it:
        client = await it.open()
        connection = it.connection
        client.writer.write(frame(PING, b"p" * 125) * many)
        await until(lambda: not connection.writable.is_set())
        await turns(500)
        assert connection.transport.get_write_buffer_size() < 80_000
        assert not connection.transport.is_reading()
        assert len(connection._unread) < 512 * 1024
        for _ in range(many):
            assert await client.frame() == (PONG, b"p" * 125)
        await until(connection.transport.is_reading)


async def test_frames_are_parsed_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    turn = 0
    seen: list[int] = []
    original = ServerProtocol.receive_data

    def receive_data(self: Any, data: bytes) -> None:
        sizes.append(len(data))
        seen.append(turn)
        original(self, data)

    monkeypatch.setattr(ServerProtocol, "receive_data", receive_data)

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async with running() as it:
        client = await it.open()
        other = asyncio.create_task(count())
        client.writer.write(frame(PONG) * 20_000 + subscribe("a", "/nothing"))
        kind, data = await client.frame()
        other.cancel()
        assert (kind, json.loads(data)["status"]) == (TEXT_FRAME, 404)
    assert max(sizes) <= 4096
    assert len(set(seen[1:])) == len(seen[1:]) >= 29  # others had a turn between any two


@pytest.mark.parametrize(("fragments", "code"), [(128, 1008), (129, 1008)])
async def test_a_message_has_few_fragments(fragments: int, code: int) -> None:
    async with running() as it:
        client = await it.open()
        middle = frame(MORE, last=False) * (fragments - 2)
        client.writer.write(frame(TEXT_FRAME, b"[", last=False) + middle + frame(MORE, b"]"))
        kind, data = await client.frame()
        assert (kind, int.from_bytes(data[:2], "big")) == (CLOSE, code)
        assert (b"fragments" in data) == (fragments > 128)


async def test_text_that_is_not_utf8_and_handshakes_write_no_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as it:
        log = logging.getLogger("uvicorn")  # at INFO, and it passes nothing on
        log.addHandler(caplog.handler)
        try:
            client = await it.open()
            client.writer.write(frame(TEXT_FRAME, b"\xff\xfe") + subscribe("a", "/d/1"))
            assert await client.close_code() == 1007
            _, line = await it.ask(HANDSHAKE.format("/live", "Origin: https://evil.test\r\n"))
            assert line.split()[1] == b"403"
            assert caplog.messages == []
            logging.getLogger("uvicorn.error").info("heard")
            assert caplog.messages == ["heard"]
        finally:
            log.removeHandler(caplog.handler)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HANDSHAKE.format("/live?x=1", ""), 101),
        (HANDSHAKE.format("/live", "").replace("GET", "POST"), 404),
        (HANDSHAKE.format("/live", "Content-Length: 5\r\n") + "hello", 404),
        (HANDSHAKE.format("/nothing", ""), 404),
        (HANDSHAKE.format("/d/1", ""), 200),
    ],
)
async def test_only_a_get_of_live_without_content_is_a_websocket(head: str, status: int) -> None:
    async with running() as it:
        _, line = await it.ask(head)
        assert int(line.split()[1]) == status


def waits(found: weakref.ref[Any]) -> bool:
    """Whether messages of a conversation wait for a client that does not read."""
    conversation = found()
    return conversation is not None and conversation.paused


async def test_a_client_that_is_gone_leaves_nothing_for_the_garbage_collector() -> None:
    async with running() as it:
        client = await it.open()
        sockets = it.app.served.websockets
        assert sockets is not None
        await until(lambda: sockets._open)
        gone = weakref.ref(next(iter(sockets._open)))
        gc.collect()
        gc.disable()
        try:
            names = range(20)
            client.writer.write(b"".join(subscribe(f"s{n}", f"/d/{n}") for n in names))
            await until(lambda: waits(gone))
            client.writer.transport.abort()
            await until(lambda: not sockets._open)
            await until(lambda: gone() is None)
        finally:
            gc.enable()
