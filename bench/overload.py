"""Overload: what the gateway answers in time when more is asked of it than it can do.

`make overload`. The gateway has core 0, upstreams and load share core 1. A dashboard of three calls
has a deadline of 500 ms. A closed loop of ever more clients, then an open loop at multiples of the
capacity that was found, and beside each of them a probe of `/healthz` every 50 ms on a connection
of its own. An answer counts if it is a complete 200 within the deadline, as its client sees it.

"core" is the share of core 0 that the gateway got after the first second, and "per core" the
complete answers for each second of its CPU time; on a busy machine compare these.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

import gateway_config
import upstreams
from peers import PEERS
from servers import Server, free_port, pinned

_DEADLINE = 0.5
_PROBE_EVERY = 0.05
_PROBE_WITHIN = 0.1
_PATIENCE = 2.0  # seconds that stragglers of an open loop have
HERE = Path(__file__).parent


class Client(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._left = 0
        self._head = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self, due: float) -> None:
        self.due = due
        self.transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        if self._head:
            self._left -= len(data)
        else:
            data = self._buffer + data if self._buffer else data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return
            self._buffer = b""
            self._head = data[:end].lower()
            at = self._head.index(b"content-length:") + 15
            self._left = int(self._head[at:].split(b"\r\n", 1)[0]) - (len(data) - end - 4)
        if self._left == 0:
            status = self._head[9:12]
            self._head = b""
            due, self.due = self.due, 0.0
            complete = b'"complete":false' not in data  # a peer answers with all or nothing
            self._load.landed(self, status, time.perf_counter() - due, due, complete=complete)

    def connection_lost(self, _: Exception | None) -> None:
        self._load.lost(self)


class Load:
    """What the clients of one round saw, and the complete answers of each second of it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.request = f"GET {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n\r\n".encode()
        self.began = self.ends = 0.0
        self.closed = True
        self.free: list[Client] = []
        self.times: list[float] = []
        self.seconds: dict[int, int] = {}
        self.counts = {"complete": 0, "late": 0, "incomplete": 0, "refused": 0, "lost": 0}

    async def connect(self, count: int) -> list[Client]:
        loop = asyncio.get_running_loop()
        clients = []
        for _ in range(count):
            _, client = await loop.create_connection(lambda: Client(self), self.host, self.port)
            clients.append(client)
        await probe(f"http://{self.host}:{self.port}/healthz", 0.001)  # all are accepted now
        return clients

    def landed(
        self, client: Client, status: bytes, taken: float, due: float, *, complete: bool
    ) -> None:
        """Count an answer; in a closed loop, ask again."""
        now = due + taken
        if now <= self.ends or not self.closed:
            if status == b"503":
                what = "refused"
            elif not complete:
                what = "incomplete"
            else:
                what = "complete" if taken <= _DEADLINE else "late"
                self.times.append(taken)
                if what == "complete":
                    second = int(now - self.began)
                    self.seconds[second] = self.seconds.get(second, 0) + 1
            self.counts[what] += 1
        if not self.closed:
            self.free.append(client)
        elif now < self.ends:
            client.ask(now)

    def lost(self, client: Client) -> None:
        if client.due and time.perf_counter() < self.ends:
            self.counts["lost"] += 1


async def closed_loop(url: str, clients: int, seconds: float) -> Load:
    """Let clients ask again and again, each as soon as it has its answer."""
    load = Load(url)
    connected = await load.connect(clients)
    gc.freeze()
    gc.disable()
    load.began = time.perf_counter()
    _say_when(1.0, seconds)
    load.ends = load.began + seconds
    for client in connected:
        client.ask(load.began)
    await asyncio.sleep(seconds + 0.1)
    for client in connected:
        client.transport.abort()
    return load


async def open_loop(url: str, rate: float, seconds: float, connections: int) -> Load:
    """Send at a constant rate; what finds no free connection is sent by the next one."""
    load = Load(url)
    load.closed = False
    connected = await load.connect(connections)
    load.free = list(connected)
    gc.freeze()
    gc.disable()
    _say_when(1.0, seconds)
    load.began = start = time.perf_counter()
    load.ends = start + seconds
    sent, unsent, total = 0, 0, int(rate * seconds)
    while sent < total:
        now = time.perf_counter()
        while sent < total and start + sent / rate <= now:
            if load.free:
                load.free.pop().ask(start + sent / rate)
            else:
                unsent += 1
            sent += 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(_PATIENCE)
    load.counts["unsent"] = unsent
    for client in connected:
        client.transport.abort()
    return load


def _say_when(*moments: float) -> None:
    """Print a line at each of these moments, when the parent reads the server's CPU time."""
    for seconds in moments:
        asyncio.get_running_loop().call_later(seconds, functools.partial(print, flush=True))


async def probe(url: str, seconds: float) -> list[float]:
    """Ask on one connection at regular times; return how long each answer took."""
    parts = urlsplit(url)
    request = f"GET {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    took = []
    ends = time.perf_counter() + seconds
    while (began := time.perf_counter()) < ends:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
        await reader.readexactly(int(length))
        took.append(time.perf_counter() - began)
        await asyncio.sleep(max(0.0, _PROBE_EVERY - took[-1]))
    writer.close()
    return took


def child(given: argparse.Namespace) -> None:
    """Run one generator and print what it saw as JSON."""
    if given.probe:
        print(json.dumps(uvloop.run(probe(given.url, given.seconds))))
        return
    if given.rate:
        load = uvloop.run(open_loop(given.url, given.rate, given.seconds, given.clients))
    else:
        load = uvloop.run(closed_loop(given.url, given.clients, given.seconds))
    times = sorted(load.times) or [0.0]
    print(json.dumps({
        **{name: count / given.seconds for name, count in load.counts.items()},
        "p50": times[len(times) // 2], "p99": times[int(len(times) * 0.99)],
        "seconds": [load.seconds.get(n, 0) for n in range(int(given.seconds))],
    }))  # fmt: skip


def generate(url: str, *options: str, core: str = "1") -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "overload.py"), "--url", url, *options]
    return subprocess.Popen(pinned(command, core), stdout=subprocess.PIPE, text=True)


def measure(server: Server, seconds: float, *options: str) -> dict[str, Any]:
    """Run one round with its probes and return the figures."""
    length = ("--seconds", str(seconds))
    load = generate(server.url + "/fan3", *length, *options)
    assert load.stdout is not None
    probes = generate(server.url + "/healthz", *length, "--probe")
    load.stdout.readline()  # after the first second
    before = server.cpu()
    load.stdout.readline()  # at the end
    spent = server.cpu() - before
    said, probed = load.communicate()[0], json.loads(probes.communicate()[0])
    found: dict[str, Any] = json.loads(said)
    steady: list[int] = found["seconds"][1:]
    found["cpu"] = spent / len(steady)
    found["per_core"] = sum(steady) / max(spent, 0.01)
    found["probes"] = sum(took <= _PROBE_WITHIN for took in probed) / max(1, len(probed))
    found["slowest_probe"] = max(probed)
    return found


def show(name: str, found: dict[str, Any]) -> None:
    print(
        f"{name:>14}  complete {found['complete']:7.0f}/s  late {found['late']:6.0f}"
        f"  incomplete {found['incomplete']:6.0f}  refused {found['refused']:6.0f}"
        f"  lost {found['lost']:4.0f}  p50 {found['p50'] * 1000:4.0f} ms"
        f"  p99 {found['p99'] * 1000:4.0f} ms  core {found['cpu']:4.2f}"
        f"  per core {found['per_core']:5.0f}"
        f"  probes {found['probes']:6.1%} (slowest {found['slowest_probe'] * 1000:.0f} ms)"
        f"  {found['seconds']}",
        flush=True,
    )


def crowd_of_peer(name: str, upstream: str, given: argparse.Namespace) -> None:
    """Run the closed loop against a peer, for comparison; it has no deadline and refuses nothing."""
    said, build = PEERS[name]
    peer = build(HERE / "out", upstream)
    peer.start()
    try:
        measure(peer, 2.0, "--clients", "64")
        for count in [int(one) for one in given.counts.split(",") if one]:
            print(said)
            show(f"{count} clients", measure(peer, given.seconds, "--clients", str(count)))
    finally:
        peer.stop()


def configuration(path: Path, url: str, upstream: str) -> Path:
    sections = gateway_config.optional_sections("fan3")
    path.write_text(
        f'upstreams:\n  up: {{base_url: "{url}", retry: {{}}, breaker: {{}}{upstream}}}\n'
        f"dashboards:\n  fan3:\n    path: /fan3\n    deadline: 500ms\n    sections:\n{sections}"
    )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url")
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--clients", type=int, default=4096)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--counts", default="64,512,2000,6000,512")
    parser.add_argument("--times", default="3,10")
    parser.add_argument("--peers", default="", help="such as node,node_dispatch")
    parser.add_argument("--upstream", default=", concurrency: 512")
    given = parser.parse_args()
    if given.url:
        child(given)
        return
    with tempfile.TemporaryDirectory(prefix="overload-") as temporary:
        out = Path(temporary)
        out.chmod(0o755)  # nginx reads it as another user
        upstream = upstreams.server(out, [free_port()])
        upstream.start()
        port = free_port()
        path = configuration(out / "gateway.yaml", upstream.url, given.upstream)
        command = [sys.executable, "-m", "gateway", "run", "--config", str(path)]
        server = Server("gateway", [*command, "--port", str(port)], port, out / "gateway.log",
                        cwd=HERE.parent)  # fmt: skip
        server.start()
        try:
            measure(server, 2.0, "--clients", "64")  # warm
            capacity = 0.0
            for count in [int(one) for one in given.counts.split(",") if one]:
                found = measure(server, given.seconds, "--clients", str(count))
                capacity = max(capacity, found["complete"])
                show(f"{count} clients", found)
            for times in [float(one) for one in given.times.split(",") if one]:
                rate = str(times * capacity)
                show(f"{times:g} x capacity", measure(server, given.seconds, "--rate", rate))
                show("just after", measure(server, 2.0, "--clients", "64"))
            server.stop()
            for name in [one for one in given.peers.split(",") if one]:
                crowd_of_peer(name, upstream.url, given)
        finally:
            server.stop()
            upstream.stop()


if __name__ == "__main__":
    main()
