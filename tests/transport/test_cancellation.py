"""Cancellation at any moment: what encode/httpcore#1093 loses its slots to."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.transport import Http1Transport, Origin
from gateway.transport.pools import PoolLimits
from tests.fault_server import Asked, FaultServer, Peer, answer, chunked, whole
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gateway.transport.pool import Pool

CANCELLATIONS = 10_000
AT_ONCE = 40
SLOTS = 10


def moody(rng: random.Random) -> FaultServer:
    """Return a server that closes, resets, hangs and truncates at random, and mostly answers."""
    good = answer(body=b"x" * 300)
    long = chunked([b"y" * 2000] * 3)

    async def script(peer: Peer, asked: Asked) -> bool:
        mood = rng.random()
        if mood < 0.02:
            peer.reset()
            return False
        if mood < 0.04:
            return False
        if mood < 0.06:
            await peer.send(good[: rng.randrange(len(good))])
            return False
        if mood < 0.08:
            await peer.send(long[:2500])
            await asyncio.sleep(0.002)
            await peer.send(long[2500:])
            return True
        if mood < 0.1:
            await asyncio.sleep(0.005)
        await peer.send(good)
        return mood < 0.95

    async def greeting(peer: Peer) -> bool:
        return rng.random() > 0.02

    return FaultServer(default=script, greeting=greeting)


async def storm(call: Coroutine[object, object, object], rng: random.Random) -> str:
    """Run `call`, cancel it after a random number of turns of the loop or a random time."""
    task = asyncio.ensure_future(call)
    if rng.random() < 0.6:
        for _ in range(rng.randrange(40)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(rng.random() * 0.008)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return "cancelled"
    except httpx.TransportError as error:
        return type(error).__name__
    return "done"


def sockets() -> int:
    """Count the open files of this process, 0 where the system does not tell."""
    fds = Path("/proc/self/fd")
    return len(list(fds.iterdir())) if fds.exists() else 0


def only_pool(transport: Http1Transport) -> Pool:
    (pool,) = transport.pools
    return pool


async def settled(pool: Pool) -> None:
    """Let closed connections go."""
    await until(lambda: pool.slots == pool.idle and not pool.waiting)


async def weather_the_storm() -> None:
    rng = random.Random(7)
    outcomes: Counter[str] = Counter()
    tasks_before = len(asyncio.all_tasks())
    transport = Http1Transport(PoolLimits(max_connections=SLOTS))
    async with moody(rng) as server:
        sockets_before = sockets()
        origin = Origin.of(server.url)

        async def worker() -> None:
            while outcomes["cancelled"] < CANCELLATIONS:
                timeout = rng.choice((None, None, 1.0, 0.002))
                call = transport.exchange(origin, "GET", b"/", timeout=timeout)
                outcomes[await storm(call, rng)] += 1

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        pool = only_pool(transport)
        await settled(pool)
        assert pool.waiting == 0
        assert pool.slots == pool.idle <= SLOTS

        server.default = whole(answer(body=b"calm"))
        server.greeting = None
        for _ in range(10):
            answers = await asyncio.gather(
                *(transport.exchange(origin, "GET", b"/", timeout=60) for _ in range(10))
            )
            assert [calm.body for calm in answers] == [b"calm"] * 10
        assert pool.slots == pool.idle <= SLOTS

        await transport.aclose()
        assert pool.slots == 0
        await until(lambda: not server.open)
        assert sockets() <= sockets_before  # fewer when something left over from before was freed
    assert len(asyncio.all_tasks()) == tasks_before
    # The storm was one: cancellations met calls in every stage, and other ends happened too.
    assert outcomes["done"] > 100
    assert outcomes["RemoteProtocolError"] > 10


@pytest.mark.no_cover
def test_ten_thousand_cancellations_lose_nothing_on_asyncio() -> None:
    asyncio.run(weather_the_storm())


@pytest.mark.no_cover
def test_ten_thousand_cancellations_lose_nothing_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    uvloop.run(weather_the_storm())
