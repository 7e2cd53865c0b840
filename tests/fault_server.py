"""A server on a real socket that answers with exactly the bytes, pauses and resets it is told to.

::

    async with FaultServer({"/slow": hang(), "/users/1": whole(answer(body=b"{}"))}) as server:
        await client.get(server.url + "/users/1")

A *script* gets the peer (one connection) and the request just read, and says by its result whether
the connection goes on. Connections that outlive the test are ended with the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gzip
import socket
import ssl
import struct
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Self

import trustme

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNRESOLVABLE = "no-such-host.invalid"  # RFC 6761 section 6.4: never resolves


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


class Peer:
    """The server's end of one connection."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def read(self) -> Asked | None:
        """Return the next request, `None` at the end of the connection."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head[:-4].split(b"\r\n")
        method, target, _ = first.decode("latin-1").split(" ")
        fields = []
        length = 0
        for line in lines:
            name, _, value = line.partition(b":")
            fields.append((name, value.strip()))
            if name.lower() == b"content-length":
                length = int(value)
        body = await self.reader.readexactly(length)
        return Asked(method, target, tuple(fields), body, self.number)

    async def send(self, data: bytes) -> None:
        if self.writer.is_closing():
            # uvloop would raise a RuntimeError.
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection with RST instead of FIN."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer, Asked], Awaitable[bool]]


def answer(
    status: int = 200,
    body: bytes = b"{}",
    headers: Iterable[tuple[str, str]] = (("content-type", "application/json"),),
    *,
    length: int | None = None,
) -> bytes:
    """Return a whole answer; `length` tells a lie about the body."""
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers)]
    lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(pieces: Iterable[bytes], headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return a whole answer in chunks."""
    lines = ["HTTP/1.1 200 OK", "transfer-encoding: chunked", *(f"{n}: {v}" for n, v in headers)]
    head = "\r\n".join([*lines, "", ""]).encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


# Scripts


def whole(raw: bytes) -> Script:
    """Answer and go on: a healthy server."""

    async def script(peer: Peer, asked: Asked) -> bool:
        await peer.send(raw)
        return True

    return script


def then_close(raw: bytes = b"") -> Script:
    """Send some bytes, none by default, and close: truncated, close-delimited, or dropped."""

    async def script(peer: Peer, asked: Asked) -> bool:
        await peer.send(raw)
        return False

    return script


def then_reset(raw: bytes = b"") -> Script:
    """Send some bytes, let them arrive, and reset the connection."""

    async def script(peer: Peer, asked: Asked) -> bool:
        if raw:
            await peer.send(raw)
            # A reset overtakes data that the other side has not read yet.
            await asyncio.sleep(0.02)
        peer.reset()
        return False

    return script


def hang(raw: bytes = b"") -> Script:
    """Send some bytes, none by default, and say nothing more."""

    async def script(peer: Peer, asked: Asked) -> bool:
        await peer.send(raw)
        await asyncio.Event().wait()
        return False

    return script


def drip(raw: bytes, pause: float = 0.001, step: int = 1) -> Script:
    """Send a few bytes at a time."""

    return in_parts(*(raw[i : i + step] for i in range(0, len(raw), step)), pause=pause)


def in_parts(*parts: bytes, pause: float = 0.001) -> Script:
    """Send parts in packets of their own and go on."""

    async def script(peer: Peer, asked: Asked) -> bool:
        for part in parts:
            await peer.send(part)
            await asyncio.sleep(pause)
        return True

    return script


def in_turn(*scripts: Script) -> Script:
    """Play one script for each request, the last one for all that follow: a burst of faults."""
    turn = count()

    async def script(peer: Peer, asked: Asked) -> bool:
        return await scripts[min(next(turn), len(scripts) - 1)](peer, asked)

    return script


def once_per_connection(raw: bytes) -> Script:
    """Answer the first request of a connection, drop the next without a byte.

    That is what a server does whose keep-alive ends while the next request is under way.
    """
    served: set[int] = set()

    async def script(peer: Peer, asked: Asked) -> bool:
        if peer.number in served:
            return False
        served.add(peer.number)
        await peer.send(raw)
        return True

    return script


def endless(head: bytes, piece: bytes = b"x" * 65536, limit: int = 2 << 30) -> Script:
    """Send `head` and then `limit` bytes of body, as fast as they are taken."""

    async def script(peer: Peer, asked: Asked) -> bool:
        await peer.send(head)
        for _ in range(limit // len(piece)):
            await peer.send(piece)
        return False

    return script


# Payloads and heads that somebody out there sends

RETRY_AFTER = {
    "seconds": "1",
    "zero": "0",
    "fraction": "0.5",
    "negative": "-5",
    "huge": "99999999999999999999",
    "words": "soon",
    "empty": "",
    "date": "Wed, 21 Oct 2037 07:28:00 GMT",
    "past date": "Wed, 21 Oct 2015 07:28:00 GMT",
    "old date form": "Wednesday, 21-Oct-37 07:28:00 GMT",
    "asctime": "Wed Oct 21 07:28:00 2037",
    "not a date": "Wed, 99 Foo 2037 07:28:00 GMT",
    "two": "1, 2",
}


def too_many(retry_after: str | None, status: int = 429) -> bytes:
    """Return a 429 (or 503) with that Retry-After."""
    headers = [] if retry_after is None else [("retry-after", retry_after)]
    return answer(status, b"{}", headers)


def redirect(location: str, status: int = 302) -> bytes:
    """Return an answer that sends the client elsewhere, to a canary for instance."""
    return answer(status, b"", [("location", location)])


def gzip_bomb(size: int = 64 << 20, layers: int = 1) -> bytes:
    """Return `size` zero bytes under `layers` of gzip: two make 64 MiB out of some 280 bytes."""
    body = bytes(size)
    for _ in range(layers):
        body = gzip.compress(body, mtime=0)
    return body


def encoded(body: bytes, coding: str) -> bytes:
    """Return an answer whose body is said to be in `coding`."""
    return answer(200, body, [("content-type", "application/json"), ("content-encoding", coding)])


def deflated(body: bytes, *, wrapped: bool = True) -> bytes:
    """Return `body` under deflate, with zlib's wrapper or without."""
    stream = zlib.compressobj(wbits=zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


def header_flood(fields: int, width: int = 8) -> bytes:
    """Return an answer with that many header fields."""
    return answer(200, b"{}", [(f"x-{n}", "y" * width) for n in range(fields)])


# TLS


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of our own."""

    ca: trustme.CA = field(default_factory=trustme.CA)

    def context(self, name: str = "127.0.0.1", *, expired: bool = False) -> ssl.SSLContext:
        """Return the server's side with a certificate for `name`."""
        yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
        certificate = self.ca.issue_cert(name, not_after=yesterday if expired else None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context

    def pem(self) -> bytes:
        """Return the authority's own certificate."""
        return self.ca.cert_pem.bytes()


class FaultServer:
    """Serves scripts by path on an ephemeral port of the loopback.

    Args:
        scripts: by path, without query.
        default: for every other path; a 404 where it is `None`.
        greeting: runs on each new connection before a request is read; ends it by `False`.
        tls: the server's side of TLS.

    Attributes:
        asked: every request that came.
        connections: how many connections were made.
        open: how many there are.
    """

    def __init__(
        self,
        scripts: Mapping[str, Script] | None = None,
        *,
        default: Script | None = None,
        greeting: Callable[[Peer], Awaitable[bool]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.scripts = dict(scripts or {})
        self.default = default or whole(answer(404, b"{}"))
        self.greeting = greeting
        self.asked: list[Asked] = []
        self.connections = 0
        self.port = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen; a port of one's own choice brings a stopped server back to its place."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", port, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse from now on, and end what there is."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(
            self._serve(Peer(self.connections, reader, writer))
        )
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            # A task that is cancelled before its first step closes nothing.
            writer.close()

        task.add_done_callback(ended)

    async def _serve(self, peer: Peer) -> None:
        try:
            # A client that is gone already is no fault of the server's.
            with contextlib.suppress(OSError):
                if self.greeting is not None and not await self.greeting(peer):
                    return
                while (asked := await peer.read()) is not None:
                    self.asked.append(asked)
                    script = self.scripts.get(asked.path, self.default)
                    if not await script(peer, asked):
                        return
        finally:
            peer.writer.close()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(peer.writer.wait_closed(), 1)
