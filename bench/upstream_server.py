"""Upstreams for machines without nginx: files from memory over HTTP/1.1, some with a delay."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

import work


class Upstream(asyncio.Protocol):
    """Answers GET after GET on one connection; no bodies, no chunks."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            self._answer(head.split(b" ", 2)[1].partition(b"?")[0].decode())

    def _answer(self, path: str) -> None:
        prefix, _, name = path.removeprefix("/").rpartition("/")
        delay = work.DELAYS.get(f"{prefix}/" if prefix else "", 0.0)
        answer = self._answers.get(name, b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        if delay:
            asyncio.get_running_loop().call_later(delay, self._send, answer)
        else:
            self._send(answer)

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


def answers_in(root: Path) -> dict[str, bytes]:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return {p.name: head % p.stat().st_size + p.read_bytes() for p in root.glob("*.json")}


async def main(answers: dict[str, bytes], ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(lambda: Upstream(answers), "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(answers_in(Path(sys.argv[1])), [int(port) for port in sys.argv[2:]]))
