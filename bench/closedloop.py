"""A closed-loop load generator for machines without wrk: clients that send request after request.

Python is then the limit for the fastest servers, as the report says. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from contextlib import suppress
from urllib.parse import urlsplit

import httptools
import uvloop

from openloop import percentile

_PATIENCE = 30.0  # seconds beyond the round, for the first answer


class Client(asyncio.Protocol):
    """One connection with one request in flight."""

    def __init__(self, load: ClosedLoop) -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self) -> None:
        self._began = time.perf_counter()
        self.transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        good = self._parser.get_status_code() < 400
        self._parser = httptools.HttpResponseParser(self)
        if self._load.landed(time.perf_counter() - self._began, good=good):
            self.ask()

    def connection_lost(self, _: Exception | None) -> None:
        self._load.lost()


class ClosedLoop:
    """Clients of one URL."""

    def __init__(self, url: str, clients: int, headers: list[str]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        lines = [f"GET {parts.path} HTTP/1.1", f"host: {parts.netloc}", *headers, "", ""]
        self.request = "\r\n".join(lines).encode()
        self._count = clients
        self._running = False
        self._first = asyncio.Event()
        self.times: list[float] = []
        self.errors = 0

    async def run(self, seconds: float) -> float:
        """Send load for some seconds; return the seconds that it took."""
        loop = asyncio.get_running_loop()
        clients: list[Client] = []
        for _ in range(self._count):
            _, client = await loop.create_connection(lambda: Client(self), self._host, self._port)
            clients.append(client)
        gc.freeze()
        gc.disable()
        self._running = True
        began = time.perf_counter()
        for client in clients:
            client.ask()
        await asyncio.sleep(seconds)
        with suppress(TimeoutError):  # an answer may take longer than the round
            await asyncio.wait_for(self._first.wait(), _PATIENCE)
        self._running = False
        spent = time.perf_counter() - began
        for client in clients:
            client.transport.close()
        return spent

    def landed(self, taken: float, *, good: bool) -> bool:
        """Record an answer; return whether to send another request."""
        if self._running:
            self._first.set()
            if good:
                self.times.append(taken)
            else:
                self.errors += 1
        return self._running

    def lost(self) -> None:
        if self._running:
            self._first.set()
            self.errors += 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--header", action="append", default=[])
    given = parser.parse_args()
    load = ClosedLoop(given.url, given.clients, given.header)
    spent = uvloop.run(load.run(given.seconds))
    times = sorted(load.times)
    result = {
        "rate": len(times) / spent, "answers": len(times), "errors": load.errors,
        "p50": percentile(times, 0.50), "p99": percentile(times, 0.99),
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
