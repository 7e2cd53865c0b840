"""The measured server processes: pinned to cores, awaited at start, stopped by their own ids."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raise_open_files() -> int:
    """Raise the limit of open files as far as allowed, here and for children; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def pinned(command: list[str], cores: str) -> list[str]:
    """Return the command pinned to these cores, if `taskset` and the cores are available."""
    if shutil.which("taskset") is None or (os.cpu_count() or 1) < 2:
        return command
    return ["taskset", "-c", cores, *command]


@dataclass
class Server:
    """One process group that listens on a port."""

    name: str
    command: list[str]
    port: int
    log: Path
    cores: str = "0"
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    ready: str = "/fan3"
    process: subprocess.Popen[bytes] | None = None
    _output: IO[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, patience: float = 30.0) -> None:
        """Start it and wait for a 200 (or for an open port, without a `ready` path)."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._output = self.log.open("wb")
        self.process = subprocess.Popen(
            pinned(self.command, self.cores),
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"GATEWAY_DRAIN_DELAY": "0"} | self.env,
            cwd=self.cwd,
            start_new_session=True,
        )
        ends = time.monotonic() + patience
        while time.monotonic() < ends:
            if self.process.poll() is not None:
                break
            if self._is_ready():
                return
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"{self.name} did not start: {self.log.read_text()[-600:]}")

    def _is_ready(self) -> bool:
        if not self.ready:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return False
        try:
            with urllib.request.urlopen(self.url + self.ready, timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def stop(self) -> None:
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)  # the group that start() made
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
                break
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # workers that outlived their master
        self.process = None
        if self._output is not None:
            self._output.close()

    def pids(self) -> list[int]:
        """Return the process and its descendants."""
        if self.process is None:
            return []
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    found.extend(int(child) for child in task.read_text().split())
        return found

    def cpu(self) -> float:
        """Return the seconds of CPU, user and system, of the process and its descendants."""
        return sum(self.cpu_of_each().values())

    def cpu_of_each(self) -> dict[int, float]:
        """Return the seconds of CPU by process; those of ended children count for their parent."""
        found = {}
        for pid in self.pids():
            with suppress(OSError, IndexError):
                values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                found[pid] = sum(int(value) for value in values[11:15]) / _TICKS
        return found

    def rss(self) -> int:
        """Return the resident bytes of the processes together."""
        total = 0
        for pid in self.pids():
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmRSS:"):
                        total += int(line.split()[1]) * 1024
        return total
