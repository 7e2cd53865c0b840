"""Many distinct keys: the cache of a process stays within its bound, and its memory is flat."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

BOUND = 16 * 1024 * 1024


async def many_keys(scene) -> None:
    """1,000,000 distinct keys through the layers in one process; many over HTTP through a gateway."""
    count = 200_000 if scene.quick else 1_000_000
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cache_chaos.many_keys", str(count),
        cwd=Path(__file__).parents[1], stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    result = json.loads(output)
    scene.found(
        f"{result['calls']:,} distinct keys through cache, collapse and fill in process: "
        "bytes stored",
        f"{result['most']:,} at most, {result['entries']:,} entries at the end, "
        f"{result['seconds']:.0f} s",
        f"{BOUND:,} at most", ok=result["calls"] == count and result["most"] <= BOUND,
    )  # fmt: skip
    rss = result["rss"]
    grown = rss[-1] / rss[len(rss) // 5] - 1
    scene.found("the same: resident memory, from a fifth of the way to the end",
                f"{rss[len(rss) // 5] / 2**20:.1f} to {rss[-1] / 2**20:.1f} MiB ({grown:+.1%})",
                "+5 % at most", ok=grown <= 0.05)  # fmt: skip

    gateway = (await scene.gateways(1, GATEWAY_CACHE_MEMORY="8MiB"))[0]
    sizes: list[int] = []
    asked = 0
    ends = time.monotonic() + (12 if scene.quick else 60)

    async def client() -> None:
        nonlocal asked
        while time.monotonic() < ends:
            asked += 1
            answer = await gateway.get(f"/it/{asked}-{'x' * 200}")
            assert answer.status == 200, answer

    async def watch() -> None:
        while time.monotonic() < ends:
            sizes.append(gateway.rss())
            await asyncio.sleep(0.5)

    await asyncio.gather(watch(), *(client() for _ in range(32)))
    third = len(sizes) // 3
    early, late = max(sizes[third - 2 : third + 2]), max(sizes[-4:])
    grown = late / early - 1
    scene.found(
        f"{asked:,} distinct keys over HTTP through one gateway with Redis, cache_memory 8 MiB: "
        "resident memory, from a third of the way to the end",
        f"{early / 2**20:.1f} to {late / 2**20:.1f} MiB ({grown:+.1%})", "+5 % at most",
        ok=grown <= 0.05,
    )  # fmt: skip


async def drive(count: int) -> dict:
    from gateway.cache.freshness import CachePolicy
    from gateway.cache.refreshes import Refreshes
    from gateway.cache.store.memory import MemoryStore
    from gateway.call import Deadline, Request, Response, stack
    from gateway.events import Events
    from gateway.layers.cache import cache
    from gateway.layers.collapse import CollapsePolicy, Flights, collapse
    from gateway.layers.context import LayerContext
    from gateway.layers.fill import fill
    from gateway.layers.meter import UpstreamMeter
    from gateway.upstreams.http.operation import HttpOperation

    calls = 0

    async def upstream(request: Request) -> Response:
        nonlocal calls
        calls += 1
        value = {"target": str(request.operation), "tags": ["a", "b"], "text": "x" * (calls % 400)}
        return Response(value, body=json.dumps(value).encode())

    policy = CachePolicy(ttl="1h")
    events, store, clock = Events(()), MemoryStore(BOUND), time.monotonic
    context = LayerContext(
        "it", events, clock, time.time, asyncio.sleep, lambda: 0.5, UpstreamMeter()
    )
    refreshes = Refreshes(events=events, clock=clock)
    call = stack(
        upstream,
        cache(policy, context, generation=b"g", store=store, refreshes=refreshes),
        collapse(CollapsePolicy(), context, Flights()),
        fill(context, store),
    )
    rss, most, began = [], 0, time.monotonic()
    for number in range(count):
        await call(
            Request(HttpOperation(f"/it/{number}"), Deadline(clock() + 5), tags=("dashboard:it",))
        )
        if number % (count // 50) == 0:
            rss.append(resident())
        most = max(most, store.size)
    rss.append(resident())
    return {"calls": calls, "most": most, "entries": len(store), "rss": rss,
            "seconds": time.monotonic() - began}  # fmt: skip


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(json.dumps(asyncio.run(drive(int(sys.argv[1])))))
