"""Closed-loop load by `wrk`, or by `closedloop.py` if wrk is not installed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import servers

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class FailedError(RuntimeError):
    """The load met errors, so the figure would be meaningless."""


@dataclass(frozen=True)
class Load:
    """The result of one round."""

    rate: float  # answers a second
    p50: float  # seconds
    p99: float
    answers: int


def run(
    url: str, *, clients: int, seconds: float, headers: dict[str, str] | None = None,
    cores: str = "1", threads: int = 1, timeout: float = 30.0,
) -> Load:  # fmt: skip
    """Load `url`; raise `FailedError` on any socket error or an answer above 399."""
    if not installed():
        return _python(url, clients=clients, seconds=seconds, headers=headers, cores=cores)
    command = ["wrk", f"-t{threads}", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--latency"]
    command += ["--timeout", f"{timeout:g}s"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(
        servers.pinned([*command, url], cores), capture_output=True, text=True, check=False,
        timeout=seconds + timeout + 30,
    )  # fmt: skip
    if done.returncode < 0:
        raise FailedError(f"wrk was ended by {signal.Signals(-done.returncode).name}")
    return parse(done.stdout + done.stderr)


def installed() -> bool:
    return shutil.which("wrk") is not None


def _python(
    url: str, *, clients: int, seconds: float, headers: dict[str, str] | None, cores: str
) -> Load:
    command = [sys.executable, str(Path(__file__).with_name("closedloop.py")), url,
               "--clients", str(clients), "--seconds", f"{seconds:g}"]  # fmt: skip
    for name, value in (headers or {}).items():
        command += ["--header", f"{name}: {value}"]
    done = subprocess.run(servers.pinned(command, cores), capture_output=True, text=True,
                          check=False, timeout=seconds + 120)  # fmt: skip
    if done.returncode:
        raise FailedError(done.stderr.strip()[-300:])
    found = json.loads(done.stdout)
    if found["errors"] or not found["answers"]:
        raise FailedError(f"{found['errors']} errors, {found['answers']} answers")
    return Load(found["rate"], found["p50"], found["p99"], found["answers"])


def parse(text: str) -> Load:
    if "Socket errors" in text or "Non-2xx" in text:
        raise FailedError("; ".join(re.findall(r"(?:Socket errors|Non-2xx).*", text)))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    count = re.search(r"(\d+) requests in", text)
    if rate is None or count is None or int(count[1]) == 0:
        raise FailedError(text.strip()[-300:] or "wrk printed nothing")
    return Load(float(rate[1]), _percentile(text, 50), _percentile(text, 99), int(count[1]))


def _percentile(text: str, of: int) -> float:
    found = re.search(rf"{of}%\s+([\d.]+)(us|ms|s|m)\b", text)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")
