"""Raw HTTP/1.1 on both sides of the gateways: a client, and an upstream that counts its calls."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from typing import NamedTuple


class Answer(NamedTuple):
    """A client's answer; status 0 if there was none."""

    status: int
    head: bytes
    body: bytes
    began: float
    seconds: float

    def header(self, name: str) -> str:
        wanted = name.lower().encode() + b":"
        for line in self.head.split(b"\r\n"):
            if line.lower().startswith(wanted):
                return line[len(wanted) :].strip().decode()
        return ""

    @property
    def json(self):
        return json.loads(self.body)

    def section(self, name: str = "it") -> dict:
        return self.json["meta"]["sections"][name]

    @property
    def calls(self) -> int:
        """The number of the upstream call behind this answer, 0 for none."""
        value = self.json["data"]["it"]
        return value["call"] if value else 0


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.buffer = b""
        self.answer: asyncio.Future | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport) -> None:
        self.transport = transport

    def connection_lost(self, exc) -> None:
        self.transport = None
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionError("closed before the answer"))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0 or self.answer is None:
            return
        head = self.buffer[:end]
        size = 0
        at = head.lower().find(b"content-length:")
        if at >= 0 and not head.startswith(b"HTTP/1.1 304"):
            size = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) >= end + 4 + size:
            body, self.buffer = self.buffer[end + 4 : end + 4 + size], b""
            if not self.answer.done():
                self.answer.set_result((head, body))


class Client:
    """Sends requests to one gateway over persistent connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._idle: deque[_Connection] = deque()

    async def get(self, path: str, headers: str = "", timeout: float = 30.0) -> Answer:
        """Send a GET; any failure is an answer with status 0. A cancellation closes the socket."""
        began = time.perf_counter()
        connection = None
        try:
            async with asyncio.timeout(timeout):
                while self._idle and connection is None:
                    idle = self._idle.pop()
                    connection = idle if idle.transport is not None else None
                if connection is None:
                    loop = asyncio.get_running_loop()
                    _, connection = await loop.create_connection(
                        _Connection, "127.0.0.1", self.port
                    )
                connection.answer = asyncio.get_running_loop().create_future()
                connection.transport.write(
                    f"GET {path} HTTP/1.1\r\nhost: gateway\r\n{headers}\r\n".encode()
                )
                head, body = await connection.answer
        except BaseException as error:
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
            if isinstance(error, (OSError, TimeoutError)):
                why = f"{type(error).__name__}: {error}".encode()
                return Answer(0, b"", why, began, time.perf_counter() - began)
            raise
        self._idle.append(connection)
        return Answer(int(head[9:12]), head, body, began, time.perf_counter() - began)

    def close(self) -> None:
        while self._idle:
            idle = self._idle.pop()
            if idle.transport is not None:
                idle.transport.abort()


class Upstream:
    """Answers every path with its target, the number of the call and the caller's credential.

    Attributes:
        latency: seconds before an answer.
        down: answers 503 at once.
        calls: how often each target was asked for.
        total: calls in all.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.down = False
        self.calls: Counter[str] = Counter()
        self.total = 0
        self.port = 0
        self._open: set[_Served] = set()

    async def start(self) -> Upstream:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Served(self), "127.0.0.1", 0, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        self._server = server
        return self

    def reset(self, latency: float = 0.0) -> None:
        self.latency, self.down = latency, False
        self.calls.clear()
        self.total = 0

    def answer(self, target: str, credential: str) -> tuple[int, bytes]:
        self.calls[target] += 1
        self.total += 1
        answer = {"target": target, "call": self.total, "credential": credential}
        return (503 if self.down else 200), json.dumps(answer).encode()

    def stop(self) -> None:
        self._server.close()
        for served in list(self._open):
            served.transport.abort()


class _Served(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.buffer = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.upstream._open.add(self)

    def connection_lost(self, exc) -> None:
        self.upstream._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, self.buffer = self.buffer[:end].decode(), self.buffer[end + 4 :]
            lines = head.split("\r\n")
            credential = ""
            for line in lines[1:]:
                if line.lower().startswith("authorization:"):
                    credential = line[14:].strip()
            status, body = self.upstream.answer(lines[0].split(" ")[1], credential)
            raw = (
                b"HTTP/1.1 %d x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                % (status, len(body))
            ) + body
            if self.upstream.latency:
                asyncio.get_running_loop().call_later(self.upstream.latency, self._send, raw)
            else:
                self._send(raw)

    def _send(self, raw: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(raw)
