"""Closed-loop load: run `wrk` and read what it says."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

import servers

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


class FailedError(RuntimeError):
    """The load met errors: the figure would be of no use."""


@dataclass(frozen=True)
class Load:
    """What one round came to."""

    rate: float  # answers a second
    p50: float  # seconds
    p99: float
    answers: int


def run(
    url: str, *, clients: int, seconds: float, headers: dict[str, str] | None = None,
    cores: str = "1", threads: int = 1, timeout: float = 30.0,
) -> Load:  # fmt: skip
    """Load `url`; raise `FailedError` on any socket error or an answer above 399."""
    command = ["wrk", f"-t{threads}", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--latency"]
    command += ["--timeout", f"{timeout:g}s"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(
        servers.pinned([*command, url], cores), capture_output=True, text=True, check=False,
        timeout=seconds + timeout + 30,
    )  # fmt: skip
    return parse(done.stdout + done.stderr)


def parse(text: str) -> Load:
    if "Socket errors" in text or "Non-2xx" in text:
        raise FailedError("; ".join(re.findall(r"(?:Socket errors|Non-2xx).*", text)))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    count = re.search(r"(\d+) requests in", text)
    if rate is None or count is None or int(count[1]) == 0:
        raise FailedError(text.strip()[-300:] or "wrk said nothing")
    return Load(float(rate[1]), _percentile(text, 50), _percentile(text, 99), int(count[1]))


def _percentile(text: str, of: int) -> float:
    found = re.search(rf"{of}%\s+([\d.]+)(us|ms|s|m)\b", text)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")
