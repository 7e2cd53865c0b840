"""Redis killed, stopped, paused, full, evicting, restarted, read-only, absent: no request fails."""

from __future__ import annotations

import asyncio
import time

from cache_chaos.flights import paced
from cache_chaos.scene import Scene, milliseconds, percentile

RATE = 200
ADDED_BEFORE = 0.05
ADDED_AFTER = 0.005
OPEN_AFTER = 0.2
"""Seconds from the fault until its breaker is open: an operation on Redis times out after 50 ms."""


async def turmoil(scene: Scene) -> None:
    """Every fault of Redis under load, compared with a run without faults."""
    redis = scene.redis
    replicas = await scene.gateways(2)
    scene.upstream.reset(0.005)
    lasts = 1.5 if scene.quick else 4.0

    def evict() -> None:
        used = int(redis.command("INFO", "memory")["used_memory"])
        redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        redis.command("CONFIG", "SET", "maxmemory", str(used - 50_000))

    faults = {
        "killed": (redis.kill, redis.start),
        "stopped (SIGSTOP)": (redis.pause, redis.resume),
        "paused (CLIENT PAUSE)": (
            # A command to end it early would be paused too.
            lambda: redis.command("CLIENT", "PAUSE", str(int(lasts * 1000)), "ALL"),
            lambda: None,
        ),
        "full (noeviction)": (redis.fill, redis.make_room),
        "evicting": (evict, redis.make_room),
        "restarted": (lambda: (redis.kill(), redis.start()), lambda: None),
        "read-only (READONLY)": (redis.make_read_only, redis.make_writable),
    }
    await load(replicas, "warm-up", 1.0)
    calm = [a.seconds for a in await load(replicas, "calm", 3.0 if scene.quick else 6.0)]
    calm_p99, calm_most = percentile(calm, 0.99), max(calm)
    scene.found(
        f"calm run, {RATE} requests/s, half of them cold: p99, slowest",
        f"{milliseconds(calm_p99)}, {milliseconds(calm_most)}", "for comparison", ok=True,
    )  # fmt: skip
    for name, (break_it, heal) in faults.items():
        running = asyncio.create_task(load(replicas, name.split()[0], lasts + 1.0))
        await asyncio.sleep(1.0)
        broken = time.perf_counter()
        await asyncio.to_thread(break_it)
        answers = await running
        await asyncio.to_thread(heal)
        recovery = await shared_again(scene, replicas)
        failed = [a for a in answers if a.status != 200 or a.section()["state"] != "ok"]
        first = [a.seconds for a in answers if -0.1 <= a.began - broken < OPEN_AFTER]
        after = [a.seconds for a in answers if a.began - broken >= OPEN_AFTER]
        before = max(first) - calm_most
        later = percentile(after, 0.99) - calm_p99
        scene.found(f"Redis {name}: failed requests", f"{len(failed)} of {len(answers)}", "0",
                    ok=not failed)  # fmt: skip
        scene.found(
            f"Redis {name}: added before its breaker opens (slowest), after (p99)",
            f"{before * 1000:+.1f} ms, {later * 1000:+.1f} ms (slowest after: "
            f"{milliseconds(max(after))})",
            "+50 ms, +5 ms at most",
            ok=before <= ADDED_BEFORE and later <= ADDED_AFTER,
        )
        if later > ADDED_AFTER:
            late = [(a.began - broken, a.seconds) for a in answers if a.seconds > calm_most]
            print("  late, from the fault:", [f"{at:.3f} s: {s:.3f} s" for at, s in late])
            print(*(replica.log[-800:] for replica in replicas), sep="\n")
        scene.found(f"Redis {name}: replicas share again after it is well",
                    milliseconds(recovery), "3 s at most, by itself", ok=recovery <= 3.0)  # fmt: skip


async def load(replicas, name: str, seconds: float) -> list:
    """Ask for cold and for warm keys in turn."""
    answers = []

    async def ask(turn: int) -> None:
        key = f"{name}-{turn}" if turn % 2 else f"warm-{turn // 2 % 50}"
        answers.append(await replicas[turn // 2 % 2].get(f"/it/{key}"))

    await paced(ask, rate=RATE, seconds=seconds)
    return answers


async def shared_again(scene: Scene, replicas, limit: float = 8.0) -> float:
    """Return the seconds until one replica finds what the other has fetched."""
    began = time.perf_counter()
    while (waited := time.perf_counter() - began) < limit:
        key = f"/it/again-{began}-{waited}"
        await replicas[0].get(key)
        await asyncio.sleep(0.03)  # the answer is stored in the background
        await replicas[1].get(key)
        if scene.upstream.calls[key] == 1:
            return waited
        await asyncio.sleep(0.02)
    return limit


async def absent(scene: Scene) -> None:
    """Redis is not there when the gateway starts, and comes later."""
    scene.redis.kill()
    began = time.perf_counter()
    replicas = await scene.gateways(2)
    ready = [await r.get("/readyz") for r in replicas]
    scene.found(
        "Redis absent at start: the gateway starts, /readyz",
        f"{[a.status for a in ready]} after {milliseconds(time.perf_counter() - began)}",
        "200", ok=all(a.status == 200 for a in ready),
    )  # fmt: skip
    lines = [line for line in replicas[0].log.splitlines() if "cannot be reached" in line]
    scene.found("Redis absent at start: its log says so", (lines or ["nothing"])[0][24:], "a line",
                ok=bool(lines))  # fmt: skip
    scene.found("Redis absent at start: its metrics say so", await store_up(replicas[0]), "0.0",
                ok=await store_up(replicas[0]) == "0.0")  # fmt: skip
    answers = await load(replicas, "absent", 1.0)
    failed = sum(a.status != 200 or a.section()["state"] != "ok" for a in answers)
    scene.found("Redis absent: failed requests", f"{failed} of {len(answers)}", "0",
                ok=not failed)  # fmt: skip
    await asyncio.to_thread(scene.redis.start)
    recovery = await shared_again(scene, replicas)
    scene.found("Redis comes later: replicas share after", milliseconds(recovery), "3 s at most",
                ok=recovery <= 3.0)  # fmt: skip
    scene.found("Redis comes later: its metrics say so", await store_up(replicas[0]), "1.0",
                ok=await store_up(replicas[0]) == "1.0")  # fmt: skip


async def store_up(replica) -> str:
    """Return the state of the shared store in `/metrics`."""
    lines = (await replica.admin.get("/metrics")).body.decode().splitlines()
    return next((x.split()[1] for x in lines if x.startswith("gateway_store_up ")), "not reported")
