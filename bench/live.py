"""Live streams: what 10,000 clients of 100 dashboards cost, and when an update reaches the last one.

`make live`. The gateway has core 0; the upstream and the clients share core 1. The upstream answers
every call with something new and the time, so every poll is an update for all clients of a
dashboard, and each client can tell how old it is. In the first half every client reads; then a
tenth of them stop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from servers import Server, free_port, raise_open_files

_DEAF_SHARE = 10
_SETTLING = 2.0


class Upstream(asyncio.Protocol):
    """Answers every request with the time and some padding; counts the calls."""

    calls = 0
    payload = "x" * 1000

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            Upstream.calls += 1
            body = b'{"at":%.6f,"text":"%b"}' % (time.time(), self.payload.encode())
            head = (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            )
            self._transport.write(head % len(body) + body)


class Client(asyncio.Protocol):
    """One live client; notes how old each update is."""

    def __init__(self, path: str, ages: list[tuple[float, float]]) -> None:
        self._path = path
        self._ages = ages
        self.updates = 0
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        accept = "accept: text/event-stream"
        transport.write(f"GET {self._path} HTTP/1.1\r\nhost: a\r\n{accept}\r\n\r\n".encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        at = data.find(b'"at":')
        if at >= 0:
            now = time.time()
            self.updates += 1
            self._ages.append((now, now - float(data[at + 5 : data.index(b",", at)])))

    def connection_lost(self, _: Exception | None) -> None:
        self.ended = True


def configuration(port: int, dashboards: int, every: str) -> dict[str, Any]:
    """Return the gateway's configuration; JSON is YAML."""
    return {
        "upstreams": {"a": {"base_url": f"http://127.0.0.1:{port}"}},
        "dashboards": {
            f"d{number}": {
                "path": f"/d{number}",
                "live": {"every": every},
                "sections": {"x": {"get": f"a:/{number}"}},
            }
            for number in range(dashboards)
        },
    }


def summary(ages: list[tuple[float, float]], since: float) -> dict[str, float]:
    """Return the ages of the updates since a moment, in milliseconds."""
    found = sorted(1000 * age for at, age in ages if at >= since)
    count = len(found)
    return {
        "updates": count,
        "p50": round(found[count // 2], 1),
        "p99": round(found[int(count * 0.99)], 1),
        "last": round(found[-1], 1),
    }


async def opened(port: int, given: argparse.Namespace, ages: Any) -> list[Client]:
    """Open all clients, some at a time."""
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for start in range(0, given.clients, 200):
        made = [
            loop.create_connection(
                lambda number=number: Client(f"/d{number % given.dashboards}", ages),  # type: ignore[misc]
                "127.0.0.1",
                port,
            )
            for number in range(start, min(start + 200, given.clients))
        ]
        clients += [client for _, client in await asyncio.gather(*made)]
        await asyncio.sleep(0.05)
    while sum(client.updates > 0 for client in clients) < given.clients:
        await asyncio.sleep(0.1)
    return clients


async def phase(
    name: str, server: Server, given: argparse.Namespace, ages: list[tuple[float, float]]
) -> dict[str, Any]:
    """Measure for a while."""
    await asyncio.sleep(_SETTLING)
    ages.clear()
    since, calls, cpu = time.time(), Upstream.calls, server.cpu()
    await asyncio.sleep(given.seconds)
    took = time.time() - since
    return {
        "phase": name,
        **summary(ages, since),
        "polls_an_interval": round((Upstream.calls - calls) / took * given.every, 1),
        "cpu": round((server.cpu() - cpu) / took, 3),
    }


async def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure one gateway."""
    loop = asyncio.get_running_loop()
    upstream = await loop.create_server(Upstream, "127.0.0.1", 0)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.yaml"
        declared = configuration(
            upstream.sockets[0].getsockname()[1], given.dashboards, f"{given.every:g}s"
        )
        config.write_text(json.dumps(declared))
        environment = {
            "GATEWAY_LIVE_CLIENTS": str(given.clients),
            "GATEWAY_MAX_CONNECTIONS": str(given.clients + 100),
        }
        command = [sys.executable, "-m", "gateway", "run", "-c", str(config), "--port", str(port)]
        log = Path(folder) / "gateway.log"
        server = Server("gateway", command, port, log, env=environment, ready="/healthz")
        await asyncio.to_thread(server.start)
        try:
            await asyncio.sleep(_SETTLING)
            before = server.rss()
            ages: list[tuple[float, float]] = []
            began = time.monotonic()
            clients = await opened(port, given, ages)
            opening = time.monotonic() - began
            everyone = await phase("all read", server, given, ages)
            after = server.rss()
            for client in clients[::_DEAF_SHARE]:
                client.transport.pause_reading()
                found = client.transport.get_extra_info("socket")
                found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf = await phase("a tenth does not read", server, given, ages)
            return {
                "clients": given.clients,
                "dashboards": given.dashboards,
                "every": given.every,
                "opened_in": round(opening, 1),
                "kilobytes_a_client": round((after - before) / 1024 / given.clients, 1),
                "phases": [everyone, deaf],
                "cut_off": sum(client.ended for client in clients),
                "rss_megabytes": round(server.rss() / 2**20),
            }
        finally:
            await asyncio.to_thread(server.stop)
            upstream.close()


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--dashboards", type=int, default=100)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two polls")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each phase")
    given = parser.parse_args()
    if raise_open_files() < given.clients + 1000:
        sys.exit(f"{given.clients} clients need a higher limit of open files: `ulimit -n`")
    os.sched_setaffinity(0, {1})
    print(json.dumps(uvloop.run(measure(given)), indent=2))


if __name__ == "__main__":
    main()
