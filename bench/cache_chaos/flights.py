"""One fetch for many: cold keys, a holder that is killed, a hot key that expires."""

from __future__ import annotations

import asyncio
import time

from cache_chaos.scene import Scene, milliseconds, percentile

LEASE = 1.0
"""Seconds after which a lease expires if its holder died (gateway/cache/store/redis/store.py)."""


async def cold(scene: Scene) -> None:
    """1,000 concurrent requests for one cold key over three replicas."""
    upstream = scene.upstream
    replicas = await scene.gateways(3)
    await asyncio.gather(*(r.get(f"/it/warm{n}") for n in range(20) for r in replicas))
    for name, most in (("with Redis", 1), ("with Redis dead", 3)):
        if most == 3:
            scene.redis.kill()
            await asyncio.sleep(0.5)
        worst, slowest, good = 0, 0.0, 0
        rounds = 2 if scene.quick else 5
        for number in range(rounds):
            upstream.reset(0.2)
            path = f"/it/cold-{most}-{number}"
            answers = await asyncio.gather(*(replicas[n % 3].get(path) for n in range(1000)))
            worst = max(worst, upstream.calls[path])
            slowest = max(slowest, *(a.seconds for a in answers))
            good += sum(a.status == 200 and a.section()["state"] == "ok" for a in answers)
        scene.found(
            f"1,000 cold requests over 3 replicas, {name}: upstream calls",
            f"{worst} ({rounds} rounds, {good} good answers, slowest {milliseconds(slowest)})",
            f"{most} at most, all answered",
            ok=1 <= worst <= most and good == rounds * 1000,
        )


async def holder(scene: Scene) -> None:
    """The replica that fetches is killed by SIGKILL during the fetch."""
    upstream = scene.upstream
    replicas = await scene.gateways(3)
    await asyncio.gather(*(r.get("/it/warm") for r in replicas))
    fetch = 0.6
    upstream.reset(fetch)
    first = asyncio.create_task(replicas[0].get("/it/key"))
    while not upstream.total:
        await asyncio.sleep(0.005)
    waiters = [asyncio.create_task(replicas[n % 3].get("/it/key")) for n in range(300)]
    await asyncio.sleep(0.25)
    replicas[0].kill()
    killed = time.perf_counter()
    answers = await asyncio.gather(*waiters)
    await first
    survivors = [a for n, a in enumerate(answers) if n % 3]
    last = max(a.began + a.seconds for a in survivors) - killed
    good = sum(a.status == 200 and a.section()["state"] == "ok" for a in survivors)
    scene.found("lease holder killed by SIGKILL: upstream calls", upstream.total, "2 at most",
                ok=upstream.total <= 2)  # fmt: skip
    scene.found(
        "lease holder killed: last waiter answered, from the kill",
        f"{milliseconds(last)}, {good} of {len(survivors)} good",
        f"{milliseconds(LEASE + fetch)} (lease + one fetch) + 100 ms of noise",
        ok=last <= LEASE + fetch + 0.1 and good == len(survivors),
    )


async def hot(scene: Scene) -> None:
    """A hot key expires again and again under load."""
    upstream = scene.upstream
    replicas = await scene.gateways(2, cache="ttl: 1s, stale_while_revalidate: 10m")
    upstream.reset()
    await asyncio.gather(*(r.get("/it/hot") for r in replicas for _ in range(20)))
    upstream.reset(0.5)
    answers = []

    async def ask(turn: int) -> None:
        answers.append(await replicas[turn % 2].get("/it/hot"))

    seconds = 5 if scene.quick else 12
    await paced(ask, rate=300, seconds=seconds)
    late = [a.seconds for a in answers]
    stale = sum(a.section()["state"] == "stale" for a in answers)
    good = sum(a.status == 200 for a in answers)
    scene.found(
        "hot key expires under load, upstream takes 500 ms: slowest request",
        f"{milliseconds(max(late))}, p99 {milliseconds(percentile(late, 0.99))}, "
        f"{good} of {len(answers)} good, {stale} stale meanwhile",
        "100 ms at most (none waits for the refresh)",
        ok=max(late) < 0.1 and good == len(answers) and stale > 0,
    )
    most = seconds + 1
    scene.found("hot key: refreshes by two replicas together", upstream.total,
                f"{most} at most in {seconds} s", ok=0 < upstream.total <= most)  # fmt: skip


async def paced(ask, *, rate: int, seconds: float) -> None:
    """Open loop: call `ask(n)` on schedule, whether or not earlier calls have ended."""
    began = time.perf_counter()
    tasks = []
    for turn in range(int(rate * seconds)):
        ahead = began + turn / rate - time.perf_counter()
        if ahead > 0:
            await asyncio.sleep(ahead)
        tasks.append(asyncio.create_task(ask(turn)))
    await asyncio.gather(*tasks)
