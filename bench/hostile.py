"""Hostile clients: what the others notice while a thousand drip and hundreds never read.

`make hostile`. The gateway has core 0; upstreams, load and attackers share core 1. Ordinary clients
send requests on a schedule. Half of that time is calm, in the other half 1,000 connections send a
byte of a request head every half second, and 200 ask for megabytes and never read. Each attacker
that is cut off connects again. Then eight connections send a head that never ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import gateway_config
import upstreams
from servers import Server, free_port, pinned, raise_open_files

HERE = Path(__file__).parent
_BYTE_EVERY = 0.5
_SETTLING = 5.0


async def drip(port: int, lives: list[float], ends: float) -> None:
    """Send a head one byte at a time, over and over."""
    while time.monotonic() < ends:
        began = time.monotonic()
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                ended = asyncio.ensure_future(reader.read())
                for byte in b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 10_000:
                    writer.write(bytes([byte]))
                    await asyncio.wait([ended], timeout=_BYTE_EVERY)
                    if ended.done() or time.monotonic() >= ends:
                        break
                if ended.done():
                    lives.append(time.monotonic() - began)
                ended.cancel()
            finally:
                writer.transport.abort()


async def never_read(port: int, path: str, lives: list[float], ends: float) -> None:
    """Ask for large answers and read none of them, over and over."""
    loop = asyncio.get_running_loop()
    request = f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode() * 20
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
    ends = time.monotonic() + given.seconds
    drips: list[float] = []
    unread: list[float] = []
    tasks = [asyncio.create_task(drip(given.port, drips, ends)) for _ in range(given.drippers)]
    tasks += [
        asyncio.create_task(never_read(given.port, "/size1m", unread, ends))
        for _ in range(given.deaf)
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
    return subprocess.Popen(pinned(command, "1"), stdout=subprocess.PIPE, text=True)


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
        gateway_config.write(out / "gateway.yaml", upstream.url)
        upstream.start()
        try:
            server.start()
            measured(load(server, given.rate, 5))  # warm
            measured(load(server, 20, 5, "/size1m"))  # starts the processes that decode
            calm = measured(load(server, given.rate, given.seconds))
            before = memory(server)
            attackers = subprocess.Popen(
                pinned([sys.executable, __file__, "--port", str(port), "--seconds",
                        str(given.seconds), "--drippers", str(given.drippers), "--deaf",
                        str(given.deaf)], "1"),
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            attacked = measured(load(server, given.rate, given.seconds))
            during = memory(server)
            lives = json.loads(attackers.communicate()[0])
            time.sleep(_SETTLING)
            measured(load(server, given.rate, 5))
            after = memory(server)
            print(f"p50 {calm['p50'] * 1e3:.2f} -> {attacked['p50'] * 1e3:.2f} ms, "
                  f"p99 {calm['p99'] * 1e3:.2f} -> {attacked['p99'] * 1e3:.2f} ms "
                  f"(x {attacked['p99'] / calm['p99']:.2f}), not answered with 200: "
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
        asyncio.run(attack(given))
    else:
        run(given)


if __name__ == "__main__":
    main()
