"""Replicas on a real server to which all that happens to servers happens."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.call import Request, Response
from gateway.errors import CallError
from gateway.events import Events
from gateway.freshness import CachePolicy
from gateway.keys import Keys
from gateway.store import MemoryStore
from gateway.store.connect import connector
from gateway.store.redis_store import RedisStore
from gateway.store.tiered import TieredStore
from tests.layers.fakes import NAME, FakeUpstream
from tests.layers.replicas import Replica
from tests.store.test_redis_store import until
from tests.virtual_time import loop_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.call import Call
    from tests.redis_server import RedisServer

STEADY = CachePolicy(ttl=60, jitter=0, early_refresh=0)


@contextlib.asynccontextmanager
async def replicas(
    server: RedisServer, upstream: Call, policy: CachePolicy = STEADY, count: int = 3
) -> AsyncIterator[list[Replica]]:
    """As many processes, all in this one, that share nothing but the server."""
    made = []
    for _ in range(count):
        near = MemoryStore(200_000, now=loop_time)
        shared = RedisStore(
            connector(server.url), events=Events(), purges=near.purges, now=loop_time,
            clock=loop_time,
        )  # fmt: skip
        made.append(Replica(upstream, policy, TieredStore(near, shared), random=random.random))
        await made[-1].store.open()
    try:
        yield made
    finally:
        for one in made:
            await one.refreshes.aclose()
            await one.flights.aclose()
            await one.store.aclose()


async def test_a_thousand_cold_requests_are_one_call(own_server: RedisServer) -> None:
    upstream = FakeUpstream((0.1, None))
    async with replicas(own_server, upstream) as three:
        answers = await asyncio.gather(*(three[n % 3].get() for n in range(1000)))
        assert {answer.value["number"] for answer in answers} == {0}
    assert upstream.calls == 1


async def test_without_redis_they_are_three(own_server: RedisServer) -> None:
    own_server.kill()
    upstream = FakeUpstream((0.1, None))
    async with replicas(own_server, upstream) as three:
        await asyncio.gather(*(three[n % 3].get() for n in range(1000)))
    assert upstream.calls == 3


HOLDER = """
import asyncio, sys
from gateway.events import Events
from gateway.store.connect import connector
from gateway.store.redis_store import RedisStore

async def main():
    store = RedisStore(connector(sys.argv[1]), events=Events())
    await store.open()
    held, _ = await store.acquire(sys.argv[2])
    print(held.token.hex(), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_holder_killed_costs_one_lease_time(own_server: RedisServer) -> None:
    key = Keys(b"1", NAME, STEADY).of(Request("/", None))  # type: ignore[arg-type]
    holder = subprocess.Popen(  # noqa: ASYNC220 - it is waited for with a bound
        [sys.executable, "-c", HOLDER, own_server.url, key], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline()
        upstream = FakeUpstream((0.1, None))
        async with replicas(own_server, upstream, count=2) as two:
            waiting = [asyncio.ensure_future(one.get()) for one in two for _ in range(50)]
            await asyncio.sleep(1.5)  # longer than a lease: the holder lives and renews it
            assert upstream.calls == 0
            holder.kill()
            began = time.monotonic()
            await asyncio.gather(*waiting)
            assert time.monotonic() - began < 1 + 0.1 + 0.5
        assert upstream.calls == 1
    finally:
        holder.kill()
        holder.wait(5)
        holder.stdout.close()


async def turmoil(server: RedisServer) -> None:
    """Do to `server` what happens to servers, one after the other."""

    async def do(seconds: float, harm: Callable[..., Any], *arguments: Any) -> None:
        await asyncio.to_thread(harm, *arguments)  # it blocks, and the replicas live on
        await asyncio.sleep(seconds)

    await do(0.2, server.kill)
    await do(0.3, server.start)
    await do(0.3, server.pause)
    await do(0.3, server.resume)
    await do(0.4, server.command, "CLIENT", "PAUSE", 200, "ALL")
    await do(0.2, server.fill)
    await do(0.2, server.command, "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    await do(0.0, server.make_room)
    await do(0.2, server.make_read_only)
    await do(0.0, server.make_writable)
    await do(0.2, server.command, "CLIENT", "KILL", "TYPE", "NORMAL")


async def test_whatever_happens_to_redis_no_request_fails_and_none_waits_long(
    own_server: RedisServer,
) -> None:
    async def upstream(request: Request) -> Response:
        await asyncio.sleep(0.005)
        return Response(request.target, body=b'"%b"' % request.target.encode())

    policy = CachePolicy(ttl=0.05, stale_while_revalidate=0.05)
    took: list[float] = []
    rng = random.Random(11)
    async with replicas(own_server, upstream, policy) as three:
        harm = asyncio.ensure_future(turmoil(own_server))

        async def client(replica: Replica) -> None:
            while not harm.done():
                target = f"/{rng.randrange(30)}"
                began = time.perf_counter()
                assert (await replica.get(target)).value == target
                took.append(time.perf_counter() - began)
                await asyncio.sleep(0.002)

        await asyncio.gather(*(client(three[n % 3]) for n in range(12)))
        await harm
        await until(lambda: all(one.store.up for one in three))
    took.sort()
    assert len(took) > 1000
    # The first of each loss wait 50 ms, and nobody waits for leases from before it. The rest of
    # the allowance is for the machine.
    assert took[-1] < 0.25
    assert took[len(took) * 99 // 100] < 0.05


async def test_no_byte_of_one_user_reaches_another(own_server: RedisServer) -> None:
    async def upstream(request: Request) -> Response:
        await asyncio.sleep(0.001)
        user = dict(request.headers)[b"authorization"]
        return Response(user.decode(), body=b'"%b"' % user)

    policy = CachePolicy(ttl=0.02, stale_while_revalidate=0.02, stale_if_error=1)
    rng = random.Random(5)
    served = 0
    async with replicas(own_server, upstream, policy) as three:
        harm = asyncio.ensure_future(turmoil(own_server))

        async def client(user: str, replica: Replica) -> None:
            nonlocal served
            headers = ((b"authorization", user.encode()),)
            while not harm.done():
                target = f"/{rng.randrange(5)}"
                asked = asyncio.ensure_future(replica.get(target, headers=headers))
                if rng.random() < 0.2:
                    await asyncio.sleep(rng.random() * 0.002)
                    asked.cancel()
                with contextlib.suppress(asyncio.CancelledError, CallError):
                    answer = await asked
                    assert (answer.value, answer.body) == (user, b'"%b"' % user.encode())
                    served += 1

        clients = [client(user, one) for user in ("alice", "bob") for one in three * 2]
        await asyncio.gather(*clients)
        await harm
    assert served > 2000


async def test_a_hot_key_expires_and_nobody_waits(own_server: RedisServer) -> None:
    upstream = FakeUpstream((0.2, None))
    policy = CachePolicy(ttl=0.3, stale_while_revalidate=10, jitter=0, early_refresh=0)
    async with replicas(own_server, upstream, policy) as three:
        await asyncio.gather(*(one.get() for one in three))
        took = []
        ends = time.monotonic() + 1.2
        while time.monotonic() < ends:
            began = time.perf_counter()
            answers = await asyncio.gather(*(one.get() for one in three for _ in range(5)))
            took.append(time.perf_counter() - began)
            assert {answer.cache for answer in answers} <= {"hit", "stale"}
            await asyncio.sleep(0.005)
    assert max(took) < 0.15  # the upstream takes 0.2
    assert 3 <= upstream.calls <= 6


@pytest.mark.parametrize("harm", ["fill", "make_read_only"])
async def test_a_server_that_takes_no_writes_is_no_reason_to_fail(
    harm: str, own_server: RedisServer
) -> None:
    upstream = FakeUpstream((0.001, None))
    async with replicas(own_server, upstream) as three:
        await three[0].get("/before")
        await three[0].store._shared._writes.drain()
        getattr(own_server, harm)()
        calls = upstream.calls
        answers: list[Any] = [await one.get(f"/{n}") for n in range(5) for one in three]
        assert all(answer.cache == "miss" for answer in answers)
        assert (await three[1].get("/before")).cache == "hit"
        assert upstream.calls == calls + 15
