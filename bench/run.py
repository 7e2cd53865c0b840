"""Benchmark the gateway against its peers and write `docs/benchmark.md` with its chart."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import chart
import peers
import report
import servers
import upstreams
import wrk
from bench import Bench, machine
from scenarios import SCENARIOS
from upstreams import HERE


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s, for a first look")
    parser.add_argument("--rounds", type=int, help="rounds for each contender")
    parser.add_argument("--seconds", type=float, help="seconds per round")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="repeatable")
    parser.add_argument("--peer", action="append", choices=peers.PEERS, help="repeatable")
    parser.add_argument("--before", type=Path, metavar="DIR", help="another checkout to compare")
    parser.add_argument("--again", type=Path, help="rewrite the report from these raw figures")
    parser.add_argument("--note", action="append", help="a note for the readers of the report")
    parser.add_argument("--no-report", action="store_true", help="do not write to docs/")
    return parser.parse_args()


def lacking() -> dict[str, str]:
    """Return the missing tools, each with its replacement and how to install it."""
    found = {}
    if not wrk.installed():
        found["wrk"] = (
            "a Python load generator replaces it, which limits the figures of fast servers "
            "(Debian, Ubuntu: apt-get install wrk)"
        )
    if not upstreams.lua():
        found["nginx with Lua"] = (
            "upstreams are served by Python "
            "(Debian, Ubuntu: apt-get install nginx-light libnginx-mod-http-lua lua-cjson)"
        )
    if shutil.which("taskset") is None:
        found["taskset"] = (
            "processes are not pinned to cores (Debian, Ubuntu: apt-get install util-linux)"
        )
    return found


def publish(results: dict[str, object]) -> None:
    docs = HERE.parent / "docs"
    (docs / "benchmark.md").write_text(report.markdown(results))
    (docs / "benchmark.svg").write_text(chart.svg(results))
    print("wrote docs/benchmark.md and docs/benchmark.svg")


def main() -> int:
    given = arguments()
    if given.again:
        publish(json.loads(given.again.read_text()) | {"notes": given.note or []})
        return 0
    servers.raise_open_files()
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    bench = Bench(
        out,
        rounds=given.rounds or (3 if given.quick else 5),
        seconds=given.seconds or (1.0 if given.quick else 2.0),
        only=given.peer or [],
        before=given.before.resolve() if given.before else None,
    )
    results: dict[str, object] = {
        "machine": machine(), "rounds": bench.rounds, "seconds": bench.seconds,
        "date": time.strftime("%Y-%m-%d"), "notes": given.note or [],
    }  # fmt: skip
    failed: dict[str, str] = {}
    loads: dict[str, float] = {}
    results |= {"failed": failed, "loads": loads}
    raw = out / f"results-{time.strftime('%Y%m%d-%H%M%S')}.json"
    for name, why in lacking().items():
        print(f"{name} is missing: {why}")
        bench.missing[name] = why
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # `finally` stops the servers
    bench.open()
    try:
        for name in given.scenario or SCENARIOS:
            print(f"==> {name}: {SCENARIOS[name].__doc__}", flush=True)
            try:
                results[name] = SCENARIOS[name](bench)
            except Exception as error:
                failed[name] = f"{type(error).__name__}: {error}"
                traceback.print_exc()
            print(report.brief(results.get(name)), flush=True)
            loads[name] = os.getloadavg()[0]
            results |= {"missing": bench.missing, "load_after": os.getloadavg()[0]}
            raw.write_text(json.dumps(results, indent=1))
    finally:
        bench.close()
    print(f"raw figures: {raw.relative_to(HERE.parent)}")
    (out / "report.md").write_text(report.markdown(results))
    if not (given.no_report or given.scenario or given.peer or given.quick):
        publish(results)
    print(report.must_show(results))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
