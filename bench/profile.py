"""Show where the time of one dashboard goes, by layer (`make profile`).

The gateway is sampled from outside by py-spy while wrk keeps it busy; where py-spy cannot be had or
may not look, a thread inside samples it (`sampler.py`), which sees no C frames. A sample belongs to
the innermost frame of a file that we tell apart; what the standard library does for a caller is the
caller's. Microseconds are shares of the CPU time that one dashboard costs when nobody samples.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import peers
import work
import wrk
from bench import GATEWAY, Bench
from upstreams import HERE

if TYPE_CHECKING:
    from pathlib import Path

    from servers import Server

_RATE = 400  # samples a second; not a multiple of the kernel's tick
_FRAME = re.compile(r"^(?P<name>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
_LIBRARIES = ("uvicorn", "starlette", "fastapi", "httpx", "redis", "aiocache", "jmespath", "tenacity")
_GROUPS = (  # the first that matches a file of the gateway
    ("web", ("web/", "app.py")),
    ("plan, fan-out and merge", (
        "fanout.py", "for_each.py", "race.py", "merge.py", "plan.py", "reference.py", "outcome.py",
        "parameter.py", "shaping.py", "freshness.py",
    )),
    ("cache and store", ("layers/cache.py", "layers/lease.py", "layers/refreshes.py", "store/",
                         "keys.py", "cache_control.py")),
    ("layers", ("layers/", "timer.py", "events.py", "call.py")),
    ("transport", ("transport/", "http_call.py", "ingress.py", "upstream.py", "json_schema.py")),
)  # fmt: skip
_LOOP = "event loop, sockets and kernel"


def component(stack: list[str]) -> str:
    """Return whose sample this is: a file of the gateway, a library, or the event loop."""
    for frame in reversed(stack):
        found = _FRAME.match(frame)
        if found is None:
            continue
        path = found["file"].replace("\\", "/")
        if "site-packages/" not in path and "gateway/" in path:
            return "gateway/" + path.rpartition("gateway/")[2]
        if "asyncio/" in path and found["name"] not in {"run", "run_until_complete"}:
            return "asyncio"
        for library in _LIBRARIES:
            if path.startswith(f"{library}/") or f"/{library}/" in path:
                # uvicorn's own main loop is at the bottom of every stack: that is the event loop.
                return _LOOP if path.endswith("uvicorn/server.py") else library
    return _LOOP


def group(name: str) -> str:
    """Return the floor of a component."""
    if not name.startswith("gateway/"):
        return name
    file = name.removeprefix("gateway/")
    for title, prefixes in _GROUPS:
        if file.startswith(prefixes):
            return title
    return _LOOP if file.startswith(("cli.py", "commands/", "__main__.py")) else "rest"


def read(raw: str) -> Counter[str]:
    """Return samples by component from collapsed stacks (`frame;frame count`)."""
    found: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        if count.isdigit():
            name = component(stack.split(";"))
            found[_LOOP if group(name) == _LOOP else name] += int(count)
    return found


def table(samples: Counter[str], micros: float, *, files: bool) -> str:
    """Return the samples as lines of text: floors, and their files beneath."""
    total = sum(samples.values())
    floors: Counter[str] = Counter()
    for name, count in samples.items():
        floors[group(name)] += count
    lines = [f"{'':44}{'share':>7}{'us/dashboard':>14}"]
    for floor, count in floors.most_common():
        lines.append(f"{floor:44}{count / total:7.1%}{micros * count / total:14.1f}")
        inside = [(n, c) for n, c in samples.most_common() if group(n) == floor and n != floor]
        for name, part in inside if files else []:
            lines.append(f"    {name:40}{part / total:7.1%}{micros * part / total:14.1f}")
    lines.append(f"{'together':44}{1:7.1%}{micros:14.1f}")
    return "\n".join(lines)


def outside(bench: Bench, server: Server, seconds: int) -> str:
    """Sample with py-spy; raise MissingError where it cannot."""
    spy = peers.python(bench.out).parent / "py-spy"
    raw = bench.out / "profile.raw"
    command = [str(spy), "record", "--pid", str(server.pids()[0]), "--rate", str(_RATE),
               "--duration", str(seconds), "--format", "raw", "--output", str(raw)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if done.returncode:
        raise peers.MissingError((done.stderr or done.stdout).strip()[-300:])
    return raw.read_text()


def inside(bench: Bench, server: Server, path: str, clients: int, seconds: int) -> str:
    """Sample with a thread in the gateway's own process."""
    raw = bench.out / "profile.raw"
    raw.unlink(missing_ok=True)
    sampled = server.__class__(
        "sampled", [sys.executable, str(HERE / "sampler.py"), str(raw), *server.command[3:]],
        server.port, server.log, server.cores, server.env, server.cwd,
    )  # fmt: skip
    server.stop()
    sampled.start()
    try:
        wrk.run(sampled.url + path, clients=clients, seconds=seconds)
        if sampled.process is not None:
            sampled.process.send_signal(signal.SIGINT)
            sampled.process.wait(30)
    finally:
        sampled.stop()
    return raw.read_text()


def under_load(bench: Bench, server: Server, path: str, clients: int, seconds: int) -> str:
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(wrk.run, server.url + path, clients=clients, seconds=seconds + 2)
        time.sleep(0.5)
        try:
            return outside(bench, server, seconds)
        finally:
            load.result()


def cost(server: Server, path: str, clients: int, seconds: int) -> float:
    """Return the microseconds of CPU that one dashboard takes."""
    before = sum(server.cpu())
    answers = wrk.run(server.url + path, clients=clients, seconds=seconds).answers
    return (sum(server.cpu()) - before) / answers * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description="Where the time of one dashboard goes, by layer.")
    parser.add_argument("--dashboard", default="fan3", choices=work.dashboards())
    parser.add_argument("--cached", action="store_true", help="with answers kept in process")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--no-files", action="store_true", help="floors only")
    parser.add_argument("--inside", action="store_true", help="sample by a thread, without py-spy")
    given = parser.parse_args()
    path = f"/{given.dashboard}"
    out: Path = HERE / "out"
    out.mkdir(exist_ok=True)
    bench = Bench(out, rounds=1, seconds=given.seconds, only=[])
    bench.open()
    try:
        server = bench.server("cached" if given.cached else GATEWAY)
        bench.check(server, path)
        wrk.run(server.url + path, clients=given.clients, seconds=1)
        micros = cost(server, path, given.clients, given.seconds)
        how = "py-spy"
        try:
            if given.inside:
                raise peers.MissingError("asked for")
            raw = under_load(bench, server, path, given.clients, given.seconds)
        except (peers.MissingError, OSError) as error:
            how = f"a thread inside (py-spy: {error})"
            raw = inside(bench, server, path, given.clients, given.seconds)
    finally:
        bench.close()
    samples = read(raw)
    kind = "cached" if given.cached else "cold"
    print(f"{given.dashboard}, {kind}, {given.clients} clients; {sum(samples.values())} samples by {how}")
    print(table(samples, micros, files=not given.no_files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
