"""A proxy that tunnels: CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928) on one port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl

SOCKS = b"\x05"
IPV4 = 1
NAME = 3


class ProxyServer:
    """Tunnels on an ephemeral port of the loopback.

    Args:
        tls: the proxy's own TLS; the tunnel is inside.
        status: what CONNECT is answered with.

    Attributes:
        tunnels: the places that were asked for, as `host:port`.
        heads: the head of each CONNECT.
    """

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, status: bytes = b"200 Connection Established"
    ) -> None:
        self.tunnels: list[str] = []
        self.heads: list[bytes] = []
        self.port = 0
        self._tls = tls
        self._status = status
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(1)
            if first == SOCKS:
                place = await self._socks(reader, writer)
            else:
                head = first + await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                place = head.split(b" ")[1].decode()
                writer.write(b"HTTP/1.1 %b\r\n\r\n" % self._status)
            self.tunnels.append(place)
            host, _, port = place.rpartition(":")
            far, near = await asyncio.open_connection(host, int(port))
            back = asyncio.ensure_future(_pump(far, writer))
            back.add_done_callback(lambda _: writer.transport.abort())
            try:
                await _pump(reader, near)
            finally:
                back.cancel()
                near.transport.abort()

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        (methods,) = await reader.readexactly(1)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        if kind == IPV4:
            host = socket.inet_ntoa(await reader.readexactly(4))
        else:
            assert kind == NAME
            (length,) = await reader.readexactly(1)
            host = (await reader.readexactly(length)).decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        return f"{host}:{port}"


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
