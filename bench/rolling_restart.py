"""Check that rolling restarts lose no request: `.venv/bin/python bench/rolling_restart.py`.

Two gateway processes are behind a small balancer that follows `/readyz`. They are restarted in turn
by SIGTERM while clients send requests: on keep-alive connections, each on a new connection, and slow
ones of 3 s. The balancer never repeats a request, so every one that a restart breaks is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import uvloop

from servers import free_port

ROOT = Path(__file__).resolve().parent.parent
CONFIG = """
upstreams:
  up:
    base_url: http://127.0.0.1:{port}
    timeout: 20s
dashboards:
  fast: {{path: /fast, deadline: 30s, sections: {{it: {{get: "up:/fast", required: true}}}}}}
  slow: {{path: /slow, deadline: 30s, sections: {{it: {{get: "up:/slow", required: true}}}}}}
"""
SLOW = 3.0
PROBE_EVERY = 0.25
HANGS = 60.0


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the head and the body of a message with a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head, await reader.readexactly(length) if length else b""


class Upstream:
    """Answers at once, or after 3 s at `/slow`."""

    port = 0

    async def start(self) -> None:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._server = server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /slow"):
                    await asyncio.sleep(SLOW)
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n"
                    b'{"id":1}'
                )
        writer.close()


class Replica:
    """One gateway, and the balancer's connections to it."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], log: Path) -> None:
        self.name = name
        self.port = free_port()
        self.command = [*command, "--port", str(self.port)]
        self.env = env
        self.log = log
        self.ready = False
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.process: asyncio.subprocess.Process | None = None

    def pooled(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Return an idle connection that the replica has not closed, as any pool does."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return None

    async def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, stdout=output, stderr=output, env=self.env, cwd=ROOT
            )

    async def probe(self) -> None:
        """Follow `/readyz`."""
        while True:
            ready = False
            with suppress(OSError, EOFError, TimeoutError):
                async with asyncio.timeout(2):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    writer.write(b"GET /readyz HTTP/1.1\r\nhost: it\r\nconnection: close\r\n\r\n")
                    head, _ = await read_message(reader)
                    ready = head.startswith(b"HTTP/1.1 200")
                    writer.close()
            self.ready = ready
            await asyncio.sleep(PROBE_EVERY)

    async def restart(self) -> int:
        """End it by SIGTERM and start it again; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(HANGS):
            code = await self.process.wait()
        self.ready = False
        await self.start()
        async with asyncio.timeout(HANGS):
            while not self.ready:
                await asyncio.sleep(0.05)
        return code

    async def end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(20):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()


class Balancer:
    """Sends each request to a ready replica, in turn, and never repeats one."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.replicas = replicas
        self.port = 0
        self.lost: collections.Counter[str] = collections.Counter()
        self._turn = 0

    async def start(self) -> None:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self._server = server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self.forward(head))
        writer.close()

    async def forward(self, head: bytes) -> bytes:
        ready = [one for one in self.replicas if one.ready]
        if not ready:
            return self.lose("no replica is ready")
        self._turn += 1
        replica = ready[self._turn % len(ready)]
        new = b"x-connection: new" in head
        pooled = None if new else replica.pooled()
        reused = pooled is not None
        try:
            reader, writer = pooled or await asyncio.open_connection("127.0.0.1", replica.port)
        except OSError as error:
            return self.lose(f"connection refused ({type(error).__name__})")
        try:
            async with asyncio.timeout(HANGS):
                writer.write(head)
                answer, body = await read_message(reader)
        except (OSError, EOFError, TimeoutError) as error:
            kind = "reused" if reused else "new"
            writer.close()
            return self.lose(f"no answer on a {kind} connection ({type(error).__name__})")
        if not answer.startswith(b"HTTP/1.1 200"):
            self.lose(f"status {answer[9:12].decode()}")
        if new or b"connection: close" in answer.lower():
            writer.close()
            # The client's connection to the balancer is another one.
            answer = answer.replace(b"connection: close\r\n", b"")
        elif reader.at_eof():
            writer.close()
        else:
            replica.idle.append((reader, writer))
        return answer + body

    def lose(self, why: str) -> bytes:
        self.lost[why] += 1
        return b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"


class Clients:
    """Clients of the balancer, which send requests until they are told to stop."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.counts: collections.Counter[str] = collections.Counter()
        self.stopping = False

    async def send(self, kind: str, path: str, pause: float) -> None:
        """Send requests one after the other, with a pause between them."""
        field = "x-connection: new\r\n" if kind == "new" else ""
        request = f"GET {path} HTTP/1.1\r\nhost: it\r\n{field}\r\n".encode()
        connection = None
        while not self.stopping:
            if connection is None:
                connection = await asyncio.open_connection("127.0.0.1", self.port)
            reader, writer = connection
            writer.write(request)
            await read_message(reader)
            self.counts[kind] += 1
            if kind == "new":
                writer.close()
                connection = None
            await asyncio.sleep(pause)


async def check(options: argparse.Namespace, directory: Path) -> int:
    upstream = Upstream()
    await upstream.start()
    config = directory / "gateway.yaml"
    config.write_text(CONFIG.format(port=upstream.port), "utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    env["PYTHONPATH"] = options.tree
    env["GATEWAY_DRAIN_DELAY"] = str(options.delay)
    command = [sys.executable, "-P", "-m", "gateway", "run", "--config", str(config)]
    command += ["--workers", str(options.workers)]
    replicas = [Replica(name, command, env, directory / f"{name}.log") for name in "ab"]
    balancer = Balancer(replicas)
    await balancer.start()
    clients = Clients(balancer.port)
    tasks: list[asyncio.Task[None]] = []
    codes: collections.Counter[int] = collections.Counter()
    began = time.monotonic()
    try:
        for replica in replicas:
            await replica.start()
            tasks.append(asyncio.create_task(replica.probe()))
        async with asyncio.timeout(HANGS):
            while not all(replica.ready for replica in replicas):
                await asyncio.sleep(0.05)
        sending = [
            *(clients.send("keep-alive", "/fast", options.pause) for _ in range(16)),
            *(clients.send("new", "/fast", options.pause) for _ in range(16)),
            *(clients.send("slow", "/slow", 0.0) for _ in range(16)),
        ]
        senders = [asyncio.create_task(one) for one in sending]
        began = time.monotonic()
        for number in range(options.restarts):
            code = await replicas[number % 2].restart()
            codes[code] += 1
            print(f"  {number + 1}: exit code {code}, {clients.counts.total()} requests, "
                  f"{balancer.lost.total()} lost", flush=True)  # fmt: skip
            await asyncio.sleep(0.5)
        while clients.counts.total() < options.requests and time.monotonic() - began < 900:
            await asyncio.sleep(0.1)
        clients.stopping = True
        await asyncio.wait(senders, timeout=HANGS)
        failed = [task for task in senders if not task.done() or task.exception() is not None]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*(replica.end() for replica in replicas))
    for replica in replicas:
        text = replica.log.read_text("utf-8")
        if "Traceback" in text:
            print(f"tracebacks in the log of {replica.name}: {text.count('Traceback')}")
    total, lost = clients.counts.total(), balancer.lost.total()
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(clients.counts.items()))
    print(f"{options.restarts} restarts with {options.workers} worker(s) "
          f"in {time.monotonic() - began:.0f} s: {total} requests ({kinds}), {lost} lost")  # fmt: skip
    for why, count in balancer.lost.most_common():
        print(f"  {count} {why}")
    print(f"exit codes: {dict(codes)}; clients that failed: {len(failed)}")
    return int(lost > 0 or bool(failed) or total < options.requests or set(codes) != {0})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--requests", type=int, default=50_000, help="at least so many")
    parser.add_argument("--delay", type=float, default=5.0, help="GATEWAY_DRAIN_DELAY")
    parser.add_argument("--pause", type=float, default=0.05, help="of a client between requests")
    parser.add_argument(
        "--tree", type=os.path.abspath, default=str(ROOT), help="the source tree of the gateway"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rolling-restart-") as directory:
        return uvloop.run(check(options, Path(directory)))


if __name__ == "__main__":
    raise SystemExit(main())
