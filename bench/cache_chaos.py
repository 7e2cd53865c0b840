"""Check the guarantees of the shared cache: `.venv/bin/python bench/cache_chaos.py [--check NAME]`.

It runs several real gateway processes, a real Redis-protocol server and an upstream that counts its
calls. It prints a table and exits with 1 if a check fails. Everything is on loopback, bounded in
time, and ended by its process id.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # tests/redis_server.py

from cache_chaos import (  # a package wins over the module of its name
    flights,
    many_keys,
    principals,
    turmoil,
    values,
)
from cache_chaos.scene import Diagnostic, Scene

CHECKS = {
    "cold": (flights.cold, 120),
    "holder": (flights.holder, 60),
    "hot": (flights.hot, 60),
    "turmoil": (turmoil.turmoil, 180),
    "absent": (turmoil.absent, 60),
    "values": (values.broken_values, 90),
    "dead": (values.dead_upstreams, 60),
    "principals": (principals.principals, 300),
    "keys": (many_keys.many_keys, 300),
}


async def play(name: str, *, quick: bool) -> list[Diagnostic]:
    check, limit = CHECKS[name]
    print(f"{name}: {check.__doc__.splitlines()[0]}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cache-chaos-") as directory:
        scene = Scene(Path(directory), quick=quick)
        await scene.upstream.start()
        try:
            await asyncio.to_thread(scene.redis.start)
            async with asyncio.timeout(limit):
                await check(scene)
        except TimeoutError:
            scene.found(f"{name}: time", f"over {limit} s", "ends in time", ok=False)
        except Exception as error:
            scene.found(f"{name}: ran", f"{type(error).__name__}: {error}", "to its end", ok=False)
        finally:
            await scene.end()
    print(f"  {time.monotonic() - began:.0f} s", flush=True)
    return scene.findings


def table(findings: list[Diagnostic]) -> str:
    rows = [("what", "measured", "wanted", "ok"), ("---", "---", "---", "---")]
    rows += [(f.what, f.measured, f.wanted, "yes" if f.ok else "NO") for f in findings]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="append", choices=CHECKS, help="run only this check; repeatable"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter phases")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))

    async def all_of_them() -> list[Diagnostic]:
        findings = []
        for name in options.check or CHECKS:
            findings += await play(name, quick=options.quick)
        return findings

    findings = uvloop.run(all_of_them())
    print("\n" + table(findings))
    return 0 if all(f.ok for f in findings) else 1


if __name__ == "__main__":
    raise SystemExit(main())
