"""A server in the running event loop, with a small application, and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import uvicorn

from gateway.server import Connections, Drain, Limits, Server, listen
from gateway.web.lifecycle import Lifecycle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from socket import socket

OK = [(b"content-length", b"2")]


class App:
    """Answers `ok`; at /held when it may; at /begun after its head and half of its body."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.answered = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.set()
        if scope["path"] == "/held":
            await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": OK})
        if scope["path"] == "/begun":
            await send({"type": "http.response.body", "body": b"o", "more_body": True})
            await self.may_answer.wait()
            await send({"type": "http.response.body", "body": b"k"})
        else:
            await send({"type": "http.response.body", "body": b"ok"})
        self.answered += 1


class Running(NamedTuple):
    """A server, its application and its task."""

    server: Server
    app: App
    lifecycle: Lifecycle
    task: asyncio.Task[None]
    listener: socket
    address: tuple[str, int]
    clients: list[Client]

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection(*self.address))
        self.clients.append(client)
        return client

    async def ended(self) -> None:
        async with asyncio.timeout(90):
            await self.task


class Client:
    """A connection to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *paths: str, method: str = "GET") -> None:
        heads = [f"{method} {path} HTTP/1.1\r\nhost: it\r\n\r\n" for path in paths]
        self.writer.write("".join(heads).encode())

    async def head(self) -> bytes:
        async with asyncio.timeout(90):
            return (await self.reader.readuntil(b"\r\n\r\n")).lower()

    async def answer(self) -> bytes:
        """Return the head of an answer whose body is `ok`."""
        head = await self.head()
        assert head.startswith(b"http/1.1 200"), head
        assert await self.reader.readexactly(2) == b"ok"
        return head

    async def rest(self) -> bytes:
        async with asyncio.timeout(90):
            return await self.reader.read()


@contextlib.asynccontextmanager
async def running(*, delay: float = 0, seconds: float = 90) -> AsyncIterator[Running]:
    app = App()
    http: Any = Connections(Limits())
    config = uvicorn.Config(app, http=http, ws="none", lifespan="off", log_config=None)
    lifecycle = Lifecycle()
    server = Server(config, lifecycle, Drain(delay, seconds), handles_signals=False)
    (listener,) = listen("127.0.0.1", 0)
    address = listener.getsockname()
    clients: list[Client] = []
    task = asyncio.create_task(server.serve([listener]))
    try:
        async with asyncio.timeout(90):
            while not server.started:
                await asyncio.sleep(0.005)
        yield Running(server, app, lifecycle, task, listener, address, clients)
    finally:
        for client in clients:
            client.writer.close()
        server.end(delay=False)
        server.end()
        await task
