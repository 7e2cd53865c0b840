"""A profiler of one dashboard: it samples the gateway under load, by file and by layer."""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import peers
import wrk
from bench import GATEWAY, Bench
from upstreams import HERE

_RATE = 500

# The first match names the layer of a frame's file.
_LAYERS = (
    ("/gateway/layers/", "layer: {stem}"),
    ("/gateway/transport/", "transport"),
    ("/gateway/cache/", "cache and stores"),
    ("/gateway/web/", "web face"),
    ("/gateway/engine/", "engine"),
    ("/gateway/expressions/", "expressions and JSON"),
    ("/gateway/plan/", "plan"),
    ("/gateway/answers/", "document"),
    ("/gateway/upstreams/", "calls and decoding"),
    ("/gateway/aio/", "timers and tasks"),
    ("/gateway/", "gateway, other"),
    ("/uvicorn/", "uvicorn"),
    ("/asyncio/", "asyncio and uvloop"),
    ("uvloop", "asyncio and uvloop"),
    ("/httpx/", "httpx"),
    (".so", "native"),
)


def layer(file: str) -> str:
    """Return the layer that a file belongs to."""
    for part, name in _LAYERS:
        if part in file:
            return name.format(stem=Path(file).stem)
    return "other"


def frame(text: str) -> tuple[str, str]:
    """Return function and file of a frame as py-spy writes it: `function (path:line)`."""
    function, _, rest = text.rpartition(" (")
    if not function:
        return text, ""
    file = rest.rstrip(")").rpartition(":")[0] or rest.rstrip(")")
    return function, file


def short(file: str) -> str:
    """Return a path relative to the parent of its package."""
    for mark in ("site-packages/", "/gateway/"):
        if mark in file:
            head, _, tail = file.rpartition(mark)
            return f"gateway/{tail}" if mark == "/gateway/" else tail or head
    return Path(file).name


class Profile:
    """Sample counts by innermost frame, and by the frame of the gateway that led to it."""

    def __init__(self) -> None:
        self.total = 0
        self.layers: Counter[str] = Counter()
        self.files: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()
        self.inclusive: Counter[str] = Counter()

    def add(self, line: str) -> None:
        stack, _, count = line.rpartition(" ")
        if not count.isdigit():
            return
        many = int(count)
        frames = [frame(text) for text in stack.split(";") if not text.startswith("process ")]
        if not frames:
            return
        function, file = frames[-1]
        self.total += many
        self.layers[layer(file)] += many
        self.files[short(file)] += many
        self.functions[f"{short(file)}: {function}"] += many
        for name in {layer(path) for _, path in frames}:
            self.inclusive[name] += many


def record(server_pid: int, python: Path, raw: Path, seconds: int, *, native: bool) -> None:
    """Let py-spy sample a process into folded stacks."""
    command = [str(python.parent / "py-spy"), "record", "--pid", str(server_pid), "--format", "raw",
               "--full-filenames", "--nolineno", "--rate", str(_RATE), "--duration", str(seconds),
               "--output", str(raw)]  # fmt: skip
    # Not stopped for samples: a stopped process is seen in system calls too often.
    how = "--native" if native else "--nonblocking"
    done = subprocess.run([*command, how], capture_output=True, text=True, check=False)
    if done.returncode or not raw.exists():
        sys.exit(f"py-spy: {(done.stderr or done.stdout).strip()[-400:]}")


def table(title: str, counts: Counter[str], total: int, cost: float, top: int) -> str:
    lines = [f"{title:<48} {'share':>7} {'us':>8}"]
    for name, count in counts.most_common(top):
        lines.append(f"{name[:48]:<48} {count / total:>7.1%} {cost * count / total:>8.1f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", default="/fan3", help="dashboard of the work")
    parser.add_argument("--server", default=GATEWAY, choices=(GATEWAY, "cached", "in_redis"))
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--top", type=int, default=25)
    parser.add_argument("--native", action="store_true", help="C frames too; slower")
    given = parser.parse_args()
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    python = peers.python(out)
    bench = Bench(out, rounds=1, seconds=given.seconds, only=[])
    bench.open()
    try:
        server = bench.server(given.server)
        url = server.url + given.path
        before = server.cpu()
        plain = wrk.run(url, clients=given.clients, seconds=3)
        cost = (server.cpu() - before) / plain.answers * 1e6
        loading = threading.Thread(
            target=wrk.run, args=(url,),
            kwargs={"clients": given.clients, "seconds": given.seconds + 2},
        )  # fmt: skip
        loading.start()
        raw = out / "profile.txt"
        raw.unlink(missing_ok=True)
        record(server.pids()[0], python, raw, given.seconds, native=given.native)
        loading.join()
    finally:
        bench.close()
    profile = Profile()
    for line in raw.read_text().splitlines():
        profile.add(line)
    if not profile.total:
        sys.exit("no samples")
    print(f"{given.path}: {plain.rate:,.0f} answers/s, {cost:.1f} us of CPU for each")
    print(
        f"{profile.total} samples, each counted at its innermost Python frame: C is in its caller\n"
    )
    print(table("layer, own time", profile.layers, profile.total, cost, 40), "\n")
    print(table("layer, with all that it calls", profile.inclusive, profile.total, cost, 40), "\n")
    print(table("file, own time", profile.files, profile.total, cost, given.top), "\n")
    print(table("function, own time", profile.functions, profile.total, cost, given.top))
    return 0


if __name__ == "__main__":
    sys.exit(main())
