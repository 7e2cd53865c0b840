"""Replicas on a real server to which all that happens to servers happens.

How long requests take meanwhile is measured by `make chaos`. Here it is counted what they come to.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cache.freshness import CachePolicy
from gateway.cache.keys import Keys
from gateway.cache.store import MemoryStore, StoreChange
from gateway.cache.store.redis.store import RedisStore
from gateway.cache.store.redis.url import connector
from gateway.cache.store.tiered import TieredStore
from gateway.call import Deadline, Request, Response
from gateway.errors import CallError
from gateway.events import Event, Events
from gateway.upstreams.http.operation import HttpOperation
from tests.layers.fakes import NAME, FakeUpstream
from tests.layers.replicas import Replica
from tests.operations import http, target_of
from tests.virtual_time import loop_time
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.call import Call
    from tests.redis_server import RedisServer

STEADY = CachePolicy(ttl=3600, jitter=0, early_refresh=0)
LONG = 600.0


@contextlib.asynccontextmanager
async def replicas(
    server: RedisServer,
    upstream: Call,
    policy: CachePolicy = STEADY,
    count: int = 3,
    **options: Any,
) -> AsyncIterator[list[Replica]]:
    """As many processes, all in this one, that share nothing but the server."""
    made = []
    given: Any = {"events": Events(), "timeout": 5.0, "lease": 30.0} | options
    for _ in range(count):
        near = MemoryStore(200_000, now=loop_time)
        shared = RedisStore(
            connector(server.url), purges=near.purges, now=loop_time, clock=loop_time, **given
        )
        made.append(Replica(upstream, policy, TieredStore(near, shared), random=random.random))
        await made[-1].store.open()
    try:
        yield made
    finally:
        for one in made:
            await one.refreshes.aclose()
            await one.flights.aclose()
            await one.store.aclose()


@pytest.mark.no_cover
async def test_a_thousand_cold_requests_are_one_call(own_server: RedisServer) -> None:
    upstream = FakeUpstream((0.1, None))
    async with replicas(own_server, upstream) as three:
        answers = await asyncio.gather(*(three[n % 3].get(seconds=LONG) for n in range(1000)))
        assert {answer.value["number"] for answer in answers} == {0}
    assert upstream.calls == 1


async def test_without_redis_they_are_three(own_server: RedisServer) -> None:
    own_server.kill()
    upstream = FakeUpstream((0.1, None))
    async with replicas(own_server, upstream) as three:
        await asyncio.gather(*(three[n % 3].get(seconds=LONG) for n in range(1000)))
    assert upstream.calls == 3


HOLDER_LEASE = 2.0
HOLDER = f"""
import asyncio, sys
from gateway.events import Events
from gateway.cache.store.redis.url import connector
from gateway.cache.store.redis.store import RedisStore

async def main():
    store = RedisStore(connector(sys.argv[1]), events=Events(), timeout=5, lease={HOLDER_LEASE})
    await store.open()
    held, _ = await store.acquire(sys.argv[2])
    print(held.token.hex(), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_holder_that_is_killed_costs_one_lease(own_server: RedisServer) -> None:
    key = Keys(b"1", NAME, STEADY).of(Request(HttpOperation("/"), Deadline(0)))
    lease = f"gateway:{{{key}}}:lease"
    holder = subprocess.Popen(  # noqa: ASYNC220 - it is waited for with a bound
        [sys.executable, "-c", HOLDER, own_server.url, key], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    try:
        token = bytes.fromhex(holder.stdout.readline().decode())
        upstream = FakeUpstream((0.1, None))
        async with replicas(own_server, upstream, count=2) as two:
            waiting = [
                asyncio.ensure_future(one.get(seconds=LONG)) for one in two for _ in range(50)
            ]
            left = own_server.command("PTTL", lease)
            await until(lambda: own_server.command("PTTL", lease) > left)  # it lives and renews it
            assert own_server.command("GET", lease) == token
            assert upstream.calls == 0
            holder.kill()
            assert own_server.command("PTTL", lease) <= HOLDER_LEASE * 1000
            await asyncio.gather(*waiting)
        assert upstream.calls == 1
    finally:
        holder.kill()
        holder.wait(5)
        holder.stdout.close()


class Served:
    """Counts what is served, so that turmoil goes on once every replica has served some more."""

    SOME = 20

    def __init__(self, clients: int) -> None:
        self.counts = [0] * clients

    def one(self, client: int) -> None:
        self.counts[client] += 1

    async def some(self) -> None:
        """Wait until every client was served some more requests."""
        before = self.counts.copy()
        await until(
            lambda: all(
                count >= start + self.SOME for count, start in zip(self.counts, before, strict=True)
            )
        )


async def turmoil(server: RedisServer, served: Served, all_of_them: list[Replica]) -> None:
    """Do to `server` what happens to servers, one after the other; requests go on through all."""

    async def store_is(up: bool) -> None:
        await until(lambda: all(one.store.up is up for one in all_of_them))

    async def do(harm: Callable[..., Any], *arguments: Any) -> None:
        await asyncio.to_thread(harm, *arguments)  # it blocks, and the replicas live on
        await served.some()

    await served.some()
    await do(server.kill)
    await store_is(False)
    await do(server.start)
    await store_is(True)
    await do(server.pause)
    await store_is(False)
    await do(server.resume)
    await store_is(True)
    await do(server.command, "CLIENT", "PAUSE", 200, "ALL")
    await do(server.fill)
    await do(server.command, "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    await do(server.make_room)
    await do(server.make_read_only)
    await do(server.make_writable)
    await do(server.command, "CLIENT", "KILL", "TYPE", "NORMAL")
    await store_is(True)


@pytest.mark.no_cover
async def test_whatever_happens_to_redis_no_request_fails(own_server: RedisServer) -> None:
    async def upstream(request: Request) -> Response:
        await asyncio.sleep(0.005)
        return Response(target_of(request), body=b'"%b"' % target_of(request).encode())

    policy = CachePolicy(ttl=0.05, stale_while_revalidate=0.05)
    rng = random.Random(11)
    heard: list[Event] = []
    served = Served(12)
    given: Any = {"events": Events([heard.append]), "timeout": 0.04, "lease": 1.0}
    async with replicas(own_server, upstream, policy, **given) as three:
        harm = asyncio.ensure_future(turmoil(own_server, served, three))

        async def client(number: int, replica: Replica) -> None:
            while not harm.done():
                target = f"/{rng.randrange(30)}"
                assert (await replica.get(target, seconds=LONG)).value == target
                served.one(number)
                await asyncio.sleep(0.002)

        await asyncio.gather(*(client(n, three[n % 3]) for n in range(12)))
        await harm
    losses = sum(isinstance(event, StoreChange) and not event.up for event in heard)
    assert losses >= 2 * 3  # the kill and the pause, in each replica


@pytest.mark.no_cover
async def test_no_byte_of_one_user_reaches_another(own_server: RedisServer) -> None:
    async def upstream(request: Request) -> Response:
        await asyncio.sleep(0.001)
        user = dict(http(request).headers)[b"authorization"]
        return Response(user.decode(), body=b'"%b"' % user)

    policy = CachePolicy(ttl=0.02, stale_while_revalidate=0.02, stale_if_error=1)
    rng = random.Random(5)
    served = Served(12)
    given: Any = {"timeout": 0.04, "lease": 1.0}
    async with replicas(own_server, upstream, policy, **given) as three:
        harm = asyncio.ensure_future(turmoil(own_server, served, three))

        async def client(number: int, user: str, replica: Replica) -> None:
            headers = ((b"authorization", user.encode()),)
            while not harm.done():
                target = f"/{rng.randrange(5)}"
                asked = asyncio.ensure_future(replica.get(target, LONG, headers=headers))
                if rng.random() < 0.2:
                    await asyncio.sleep(rng.random() * 0.002)
                    asked.cancel()
                with contextlib.suppress(asyncio.CancelledError, CallError):
                    answer = await asked
                    assert (answer.value, answer.body) == (user, b'"%b"' % user.encode())
                    served.one(number)

        numbers = itertools.count()
        clients = [client(next(numbers), u, one) for u in ("alice", "bob") for one in three * 2]
        await asyncio.gather(*clients)
        await harm


async def test_no_one_waits_while_a_hot_key_that_has_expired_is_refreshed(
    own_server: RedisServer,
) -> None:
    calls = 0
    gate = asyncio.Event()

    async def upstream(request: Request) -> Response:
        nonlocal calls
        calls += 1
        if calls > 1:
            await gate.wait()
        return Response(calls, body=b"%d" % calls)

    policy = CachePolicy(ttl=0.05, stale_while_revalidate=3600, jitter=0, early_refresh=0)
    async with replicas(own_server, upstream, policy) as three:
        await asyncio.gather(*(one.get(seconds=LONG) for one in three))
        await until(lambda: _expired(three))
        for _ in range(20):
            answers = await asyncio.gather(
                *(one.get(seconds=LONG) for one in three for _ in range(5))
            )
            assert [(answer.value, answer.provenance.cache) for answer in answers] == [
                (1, "stale")
            ] * 15
            await asyncio.sleep(0.002)
        await until(lambda: calls == 2)  # one refresh by all three
        gate.set()

        async def fresh() -> bool:
            return all([(await one.get(seconds=LONG)).value > 1 for one in three])

        for _ in range(1000):
            if await fresh():
                break
            await asyncio.sleep(0.005)
        assert await fresh()


def _expired(all_of_them: list[Replica]) -> bool:
    entries = [one.store.peek(key) for one in all_of_them for key in one.store._near._entries]
    return all(entry.fresh_until <= loop_time() for entry in entries)


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
        answers: list[Any] = [await one.get(f"/{n}", LONG) for n in range(5) for one in three]
        assert all(answer.provenance.cache == "miss" for answer in answers)
        assert (await three[1].get("/before")).provenance.cache == "hit"
        assert upstream.calls == calls + 15
