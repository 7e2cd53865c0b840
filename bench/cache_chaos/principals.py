"""Two users with separate credentials, cancellations and faults: no user sees the other's data."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from contextlib import suppress

from cache_chaos.scene import Scene

KEYS = 300
AT_ONCE = 48


async def principals(scene: Scene) -> None:
    """Requests of two users whose credentials are forwarded, in turmoil."""
    total = 20_000 if scene.quick else 100_000
    replicas = await scene.gateways(
        2,
        cache="ttl: 1s, stale_while_revalidate: 3s, stale_if_error: 10s",
        upstream="forward_headers: [authorization]",
    )
    scene.upstream.reset(0.002)
    users = [f"alice-{secrets.token_hex(12)}", f"bob-{secrets.token_hex(12)}", ""]  # "": anonymous
    marks = [user.encode() for user in users[:2]]
    scopes = [{"private"}, {"private"}, {"public", "no-cache"}]
    etags: list[dict[str, str]] = [{}, {}, {}]
    etags_of: list[dict[str, set[str]]] = [{}, {}, {}]
    chance = random.Random(7)
    tally = {
        "answers": 0,
        "cancelled": 0,
        "304": 0,
        "leaks": 0,
        "wrong": 0,
        "failed": 0,
        "faults": 0,
    }
    examples: list[object] = []
    left = total

    def judge(user: int, path: str, answer) -> None:
        tally["answers"] += 1
        others = [mark for number, mark in enumerate(marks) if number != user]
        if any(mark in answer.head or mark in answer.body for mark in others):
            tally["leaks"] += 1
            examples.append((path, answer))
        elif answer.status == 304:
            tally["304"] += 1
            if answer.header("etag") not in etags_of[user].get(path, ()):
                tally["leaks"] += 1  # "not modified" for an answer that only the other has seen
                examples.append((path, answer))
        elif answer.status == 200 and (value := answer.json["data"]["it"]):
            if value["credential"] != users[user] or value["target"] != path:
                tally["wrong"] += 1
                examples.append((path, answer))
            scope = answer.header("cache-control").split(",")[0]
            if scope not in scopes[user] or answer.header("vary") != "authorization":
                tally["wrong"] += 1
                examples.append((path, answer))
            etags[user][path] = answer.header("etag")
            etags_of[user].setdefault(path, set()).add(answer.header("etag"))
        else:
            tally["failed"] += 1  # the upstream was down, and nothing was stored

    async def one() -> None:
        user = chance.choice((0, 0, 0, 0, 1, 1, 1, 1, 2))
        other = chance.choice([number for number in range(3) if number != user])
        path = f"/it/{chance.randrange(KEYS)}"
        headers = f"authorization: {users[user]}\r\n" if users[user] else ""
        kind = chance.random()
        if kind < 0.1 and path in etags[other]:
            headers += f"if-none-match: {etags[other][path]}\r\n"
        elif kind < 0.2 and path in etags[user]:
            headers += f"if-none-match: {etags[user][path]}\r\n"
        asked = asyncio.create_task(replicas[chance.randrange(2)].get(path, headers))
        if chance.random() < 0.07:
            await asyncio.sleep(chance.random() * 0.006)
            if asked.cancel():
                tally["cancelled"] += 1
                with suppress(asyncio.CancelledError):
                    await asked
                return
        judge(user, path, await asked)

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await one()

    async def faults() -> None:
        redis = scene.redis
        number = 0
        while True:
            await asyncio.sleep(0.3)
            number += 1
            kind = number % 5
            if kind == 0:
                await asyncio.to_thread(redis.kill)
                await asyncio.sleep(0.2)
                await asyncio.to_thread(redis.start)
            elif kind == 1:
                redis.pause()
                await asyncio.sleep(0.2)
                redis.resume()
            elif kind == 2:
                await asyncio.to_thread(redis.make_read_only)
                await asyncio.sleep(0.2)
                await asyncio.to_thread(redis.make_writable)
            elif kind == 3:
                await asyncio.to_thread(redis.fill)
                await asyncio.sleep(0.2)
                await asyncio.to_thread(redis.make_room)
            else:
                scene.upstream.down = True
                await asyncio.sleep(0.2)
                scene.upstream.down = False
            tally["faults"] = number

    began = time.perf_counter()
    turmoil = asyncio.create_task(faults())
    try:
        await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    finally:
        turmoil.cancel()
        with suppress(asyncio.CancelledError):
            await turmoil
    counts = ", ".join(f"{count:,} {what}" for what, count in tally.items() if what != "leaks")
    scene.found(
        f"{total:,} requests of two users: answers with a byte of the other",
        f"{tally['leaks']} ({counts}, {scene.upstream.total:,} upstream calls, "
        f"{time.perf_counter() - began:.0f} s) {examples[:1] or ''}",
        "0, and none wrong",
        ok=tally["leaks"] == 0 and tally["wrong"] == 0 and tally["answers"] > total * 0.8,
    )
    clear = sum(mark in value for mark in marks for value in stored(scene))
    scene.found("credentials readable in the names of Redis keys", clear, "0", ok=clear == 0)


def stored(scene: Scene) -> list[bytes]:
    names: list[bytes] = scene.redis.command("KEYS", "*")
    return names
