"""Corrupted values in Redis, and stale values in Redis while the upstreams are down."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime

from cache_chaos.scene import Scene

KEYS = 60


async def broken_values(scene: Scene) -> None:
    """Corrupted, truncated, foreign and old-version values: a miss and a delete."""
    redis, upstream = scene.redis, scene.upstream
    paths = [f"/it/value-{n}" for n in range(KEYS)]
    writer = (await scene.gateways(1))[0]

    async def filled() -> list[bytes]:
        await asyncio.gather(*(writer.get(path) for path in paths))
        names: list[bytes] = []
        for _ in range(100):
            names = [n for n in redis.command("KEYS", "gateway:{*") if not n.endswith(b":lease")]
            if len(names) == KEYS:
                break
            await asyncio.sleep(0.02)
        return names

    def spoil(names: list[bytes]) -> int:
        whole = [redis.command("GET", name) for name in names]
        for number, (name, value) in enumerate(zip(names, whole, strict=True)):
            at = number * 7919 % len(value)
            kind = number % 8
            if kind == 0:  # one bit
                value = value[:at] + bytes([value[at] ^ 1 << number % 8]) + value[at + 1 :]
            elif kind == 1:
                value = value[:at]
            elif kind == 2:  # another version
                value = value[:4] + bytes([value[4] - 1 if number % 16 == 2 else 9]) + value[5:]
            elif kind == 3:
                value = whole[(number + 1) % KEYS]  # the answer to another request
            elif kind == 4:
                value = b'{"target": "/it/forged", "call": 1}'
            elif kind == 5:
                value += b"\0"
            if kind in {6, 7}:
                redis.command("DEL", name)
                redis.command(*(("LPUSH", name, "x") if kind == 6 else ("HSET", name, "x", "y")))
            else:
                redis.command("SET", name, value, "PX", "60000")
        return len(names)

    names = await filled()
    spoilt = await asyncio.to_thread(spoil, names)
    before = upstream.total
    upstream.down = True
    reader = (await scene.gateways(1))[0]
    answers = [await reader.get(path) for path in paths]
    wrong = sum(a.status != 200 or a.section()["state"] != "failed" for a in answers)
    await asyncio.sleep(0.5)
    left = await asyncio.to_thread(redis.command, "EXISTS", *names)
    scene.found(f"{spoilt} spoilt values, upstream down: answers that are not the typed error",
                wrong, "0", ok=spoilt == KEYS and not wrong)  # fmt: skip
    scene.found("spoilt values left in Redis after they were read", left, "0", ok=left == 0)
    upstream.down = False
    await scene.end_gateways()
    redis.command("FLUSHALL")

    writer = (await scene.gateways(1))[0]
    names = await filled()
    await asyncio.to_thread(spoil, names)
    before = upstream.total
    reader = (await scene.gateways(1))[0]
    answers = [await reader.get(path) for path in paths]
    right = sum(
        a.status == 200 and a.json["data"]["it"]["target"] == path and a.calls > before
        for a, path in zip(answers, paths, strict=True)
    )
    scene.found("spoilt values, upstream up: right answers, fetched again",
                f"{right} of {KEYS}, {upstream.total - before} calls", "all, a call for each",
                ok=right == KEYS and upstream.total - before == KEYS)  # fmt: skip
    await asyncio.sleep(0.3)
    other = (await scene.gateways(1))[0]
    total = upstream.total
    again = [await other.get(path) for path in paths]
    same = sum(a.body == b.body for a, b in zip(answers, again, strict=True))
    scene.found("a third process finds them whole again: same bytes, no call",
                f"{same} of {KEYS}, {upstream.total - total} calls", "all, 0 calls",
                ok=same == KEYS and upstream.total == total)  # fmt: skip


async def dead_upstreams(scene: Scene) -> None:
    """Every upstream is dead, the cache is warm."""
    cache = "ttl: 1s, stale_while_revalidate: 1s, stale_if_error: 5s"
    replicas = await scene.gateways(2, cache=cache)
    paths = [f"/{kind}/{n}" for kind in ("it", "needed") for n in range(20)]
    warm = {path: await replicas[0].get(path) for path in paths}
    stored_at = time.time()
    scene.upstream.down = True
    replicas += await scene.gateways(1, cache=cache)  # it knows them from Redis only
    answers, wrong = 0, []
    await asyncio.sleep(max(0.0, stored_at + 1.3 - time.time()))
    while time.time() < stored_at + 5.3:
        for path in paths:
            for replica in replicas:
                a = await replica.get(path)
                answers += 1
                section = a.section() if a.status == 200 else {}
                good = (
                    section.get("state") == "stale"
                    and section["as_of"] == warm[path].section()["as_of"]
                    and abs(datetime.fromisoformat(section["as_of"]).timestamp() - stored_at) < 5
                    and a.json["data"] == warm[path].json["data"]
                )
                if not good:
                    wrong.append(a)
        await asyncio.sleep(0.1)
    scene.found(
        "all upstreams dead, warm cache: answers not 200, stale, with their as_of",
        f"{len(wrong)} of {answers}{' ' + repr(wrong[0].body[:200]) if wrong else ''}", "0",
        ok=answers > 100 and not wrong,
    )  # fmt: skip
    await asyncio.sleep(max(0.0, stored_at + 7.0 - time.time()))
    after = [(path, await r.get(path)) for path in paths for r in replicas]
    typed = sum(
        (a.status == 200 and a.json["errors"][0]["code"] == "upstream_status")
        if path.startswith("/it/")
        else (a.status == 502 and a.json["code"] == "upstream_status")
        for path, a in after
    )
    scene.found("outside the window: the typed error", f"{typed} of {len(after)}", "all",
                ok=typed == len(after))  # fmt: skip
