"""An open-loop load generator: requests are sent on a schedule, independent of the answers.

Latency is measured from the moment a request was due, not from the moment it could be sent, so a
stalled server is charged for every request that had to wait (Tene, "How NOT to Measure Latency": no
coordinated omission). Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import time
from collections import deque
from urllib.parse import urlsplit

import httptools
import uvloop

_PATIENCE = 20.0


class Client(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._parser = httptools.HttpResponseParser(self)
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, due: float) -> None:
        self.due = due
        self.transport.write(self._generator.request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        due, self.due = self.due, 0.0
        self._generator.landed(self, due, good=status == 200)

    def connection_lost(self, _: Exception | None) -> None:
        self._generator.lost(self)


class Generator:
    """Sends at a constant rate over as many connections as necessary, up to a bound."""

    def __init__(self, url: str, rate: float, seconds: float, warm: float, most: int) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self.request = f"GET {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n\r\n".encode()
        self._rate, self._warm, self._most = rate, warm, most
        self._total = int(rate * (seconds + warm))
        self._free: list[Client] = []
        self._waiting: deque[float] = deque()
        self._open = 0
        self.times: list[float] = []
        self.late: list[float] = []
        self.errors = 0
        self._pending = 0

    async def run(self) -> None:
        await asyncio.gather(*(self._connect() for _ in range(min(self._most, 64))))
        gc.freeze()
        gc.disable()
        self._start = start = time.perf_counter() + 0.05
        sent = 0
        while sent < self._total:
            now = time.perf_counter()
            while sent < self._total and start + sent / self._rate <= now:
                self._dispatch(start + sent / self._rate, now)
                sent += 1
            await asyncio.sleep(max(0.0, start + sent / self._rate - time.perf_counter()))
        ends = time.perf_counter() + _PATIENCE
        while self._pending and time.perf_counter() < ends:
            await asyncio.sleep(0.02)
        self.errors += self._pending

    def _dispatch(self, due: float, now: float) -> None:
        self._pending += 1
        if due - self._start >= self._warm:
            self.late.append(now - due)
        if self._free:
            self._free.pop().send(due)
            return
        self._waiting.append(due)
        if self._open < self._most:
            asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        self._open += 1
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Client(self), self._host, self._port)
        self._next(client)

    def _next(self, client: Client) -> None:
        if self._waiting:
            client.send(self._waiting.popleft())
        else:
            self._free.append(client)

    def landed(self, client: Client, due: float, *, good: bool) -> None:
        self._pending -= 1
        if not good:
            self.errors += 1
        elif due - self._start >= self._warm:
            self.times.append(time.perf_counter() - due)
        self._next(client)

    def lost(self, client: Client) -> None:
        self._open -= 1
        if client.due:
            self._pending -= 1
            self.errors += 1
        elif client in self._free:
            self._free.remove(client)


def percentile(values: list[float], share: float) -> float:
    """Return the nearest-rank percentile of sorted values."""
    if not values:
        return math.nan
    return values[min(len(values) - 1, max(0, math.ceil(share * len(values)) - 1))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--warm", type=float, default=1)
    parser.add_argument("--connections", type=int, default=1024)
    given = parser.parse_args()
    generator = Generator(given.url, given.rate, given.seconds, given.warm, given.connections)
    uvloop.run(generator.run())
    times, late = sorted(generator.times), sorted(generator.late)
    result = {
        "rate": given.rate,
        "answers": len(times),
        "errors": generator.errors,
        "p50": percentile(times, 0.50),
        "p99": percentile(times, 0.99),
        "p999": percentile(times, 0.999),
        "late_p99": percentile(late, 0.99),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
