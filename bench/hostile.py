"""Hostile clients: what the others notice while a thousand drip and hundreds never read.

`make hostile`. The gateway has core 0; upstreams, load and attackers share core 1, where upstreams
and load run first (`SCHED_FIFO`; without the right to it the attackers delay them, and the p99 is
theirs, not the gateway's). Ordinary clients send requests on a schedule. Half of that time is calm, in the other half 1,000 connections send a
byte of a request head every half second, and 200 ask for a cached 100 KiB again and
again and never read. Each attacker
that is cut off connects again. Then eight connections send a head that never ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

import gateway_config
import upstreams
from servers import Server, free_port, pinned, raise_open_files

HERE = Path(__file__).parent
_BYTE_EVERY = 0.5
_ARRIVING = 10.0  # seconds in which the attackers arrive
_STARTING = 3.0
_SETTLING = 5.0


class Dripper(asyncio.Protocol):
    """A connection that sends a head one byte at a time."""

    def __init__(self, lives: list[float]) -> None:
        self._lives = lives
        self._bytes = iter(b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 10_000)
        self._began = time.monotonic()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._drip()

    def connection_lost(self, _: Exception | None) -> None:
        self._lives.append(time.monotonic() - self._began)
        self.gone.set_result(None)

    def _drip(self) -> None:
        if not self.gone.done():
            self._transport.write(bytes([next(self._bytes)]))
            asyncio.get_running_loop().call_later(_BYTE_EVERY, self._drip)


async def drip(port: int, lives: list[float], ends: float, place: float) -> None:
    """Be a `Dripper`, over and over; begin at a `place` in time."""
    await asyncio.sleep(place * _ARRIVING)
    while time.monotonic() < ends:
        with suppress(OSError):
            loop = asyncio.get_running_loop()
            _, dripper = await loop.create_connection(lambda: Dripper(lives), "127.0.0.1", port)
            await dripper.gone


async def never_read(port: int, lives: list[float], ends: float, place: float) -> None:
    """Ask for large answers and read none of them, over and over; begin at a `place` in time."""
    await asyncio.sleep(place * _ARRIVING)
    loop = asyncio.get_running_loop()
    request = b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n" * 100
    while time.monotonic() < ends:
        began = time.monotonic()
        with suppress(OSError), socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.setblocking(False)
            await loop.sock_connect(one, ("127.0.0.1", port))
            await loop.sock_sendall(one, request)
            while time.monotonic() < ends:
                await asyncio.sleep(_BYTE_EVERY)
                if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or _is_reset(one):
                    lives.append(time.monotonic() - began)
                    break


def _is_reset(one: socket.socket) -> bool:
    try:
        one.send(b"G")
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


async def attack(given: argparse.Namespace) -> None:
    """Attack, and print how long each connection lived."""
    os.nice(19)  # the core of the load is for the load
    ends = time.monotonic() + given.seconds
    drips: list[float] = []
    unread: list[float] = []
    tasks = [
        asyncio.create_task(drip(given.port, drips, ends, number / given.drippers))
        for number in range(given.drippers)
    ]
    tasks += [
        asyncio.create_task(never_read(given.port, unread, ends, number / given.deaf))
        for number in range(given.deaf)
    ]
    await asyncio.wait(tasks, timeout=given.seconds + 10)
    print(json.dumps({"drips": drips, "unread": unread}))


async def endless_heads(port: int, seconds: float) -> int:
    """Send eight heads that never end; return how many connections were ended by the server."""
    sent: Counter[str] = Counter()

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ended = asyncio.ensure_future(reader.read())
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n")
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                while not ended.done():
                    writer.write(b"x-filler: " + b"y" * 16_000 + b"\r\n")
                    await writer.drain()
        await asyncio.wait([ended], timeout=1)
        sent["ended"] += ended.done()
        ended.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await ended
        writer.transport.abort()

    await asyncio.gather(*[one() for _ in range(8)])
    return sent["ended"]


def configuration(path: Path, url: str) -> None:
    """Write a configuration; the large answer is cached, so that making it takes no time."""
    sections = gateway_config.optional_sections("fan3")
    path.write_text(
        f'upstreams:\n  up: {{base_url: "{url}", concurrency: 512, retry: {{}}, breaker: {{}}}}\n'
        f'  large: {{base_url: "{url}", cache: {{ttl: 1h}}}}\n'
        f"dashboards:\n  fan3:\n    path: /fan3\n    sections:\n{sections}"
        '  large:\n    path: /large\n    sections:\n      s: {get: "large:/size100k.json"}\n'
    )


def memory(server: Server) -> float:
    """Return the resident memory of the server in MiB."""
    total = 0
    for pid in server.pids():
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(status.partition("VmRSS:")[2].split()[0])
    return total / 1024


def load(server: Server, rate: float, seconds: float, path: str = "/fan3") -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "openloop.py"), server.url + path]
    command += ["--rate", str(rate), "--seconds", str(seconds)]
    running = subprocess.Popen(pinned(command, "1"), stdout=subprocess.PIPE, text=True)
    run_first([running.pid])
    return running


def run_first(pids: list[int]) -> bool:
    """Let processes run before the attackers on their core; return false if that is not allowed."""
    try:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    return True


def measured(running: subprocess.Popen[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(running.communicate()[0])
    return found


def run(given: argparse.Namespace) -> None:
    raise_open_files()
    with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
        out = Path(temporary)
        out.chmod(0o755)  # nginx reads it as another user
        upstream = upstreams.server(out, [free_port()])
        port = free_port()
        command = [sys.executable, "-m", "gateway", "run", "-c", str(out / "gateway.yaml")]
        server = Server("gateway", [*command, "--port", str(port)], port, out / "gateway.log",
                        cwd=HERE.parent)  # fmt: skip
        configuration(out / "gateway.yaml", upstream.url)
        upstream.start()
        try:
            if not run_first(upstream.pids()):
                print("SCHED_FIFO is not allowed: attackers delay the load and the upstreams")
            server.start()
            measured(load(server, given.rate, 5))  # warm
            measured(load(server, 20, 5, "/large"))
            calm = measured(load(server, given.rate, given.seconds))
            before = memory(server)
            attackers = subprocess.Popen(
                pinned([sys.executable, __file__, "--port", str(port), "--seconds",
                        str(given.seconds + _STARTING), "--drippers", str(given.drippers), "--deaf",
                        str(given.deaf)], "1"),
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            time.sleep(_STARTING)  # on the core of the load
            attacked = measured(load(server, given.rate, given.seconds))
            during = memory(server)
            lives = json.loads(attackers.communicate()[0])
            time.sleep(_SETTLING)
            measured(load(server, given.rate, 5))
            after = memory(server)
            print(f"p50 {calm['p50'] * 1e3:.2f} -> {attacked['p50'] * 1e3:.2f} ms, "
                  f"p99 {calm['p99'] * 1e3:.2f} -> {attacked['p99'] * 1e3:.2f} ms "
                  f"(x {attacked['p99'] / calm['p99']:.2f}; sent late by "
                  f"{calm['late_p99'] * 1e3:.2f} and {attacked['late_p99'] * 1e3:.2f} ms), not answered with 200: "
                  f"{calm['errors']} -> {attacked['errors']}")  # fmt: skip
            for name, seconds in lives.items():
                print(f"{name}: {len(seconds)} connections were cut off, after "
                      f"{min(seconds, default=0):.1f} to {max(seconds, default=0):.1f} s")  # fmt: skip
            print(f"memory {before:.1f} MiB before, {during:.1f} during, {after:.1f} after "
                  f"({100 * (after / before - 1):+.1f} %)")  # fmt: skip
            before = memory(server)
            ended = asyncio.run(endless_heads(port, 20))
            print(f"8 endless heads: {ended} ended by the server, "
                  f"{memory(server) - before:+.1f} MiB")  # fmt: skip
        finally:
            server.stop()
            upstream.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, help="only attack the server on this port")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--drippers", type=int, default=1000)
    parser.add_argument("--deaf", type=int, default=200)
    given = parser.parse_args()
    if given.port:
        uvloop.run(attack(given))
    else:
        run(given)


if __name__ == "__main__":
    main()
