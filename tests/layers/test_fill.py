from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.cache.keys import Keys
from gateway.cache.store import Acquired, Lease
from gateway.call import Request, Response
from gateway.errors import DeadlineExceeded, UpstreamStatus, UpstreamTimeout
from gateway.events import Rejection
from tests.layers.fakes import FakeUpstream
from tests.layers.replicas import FakeShared, Replica, Server
from tests.layers.test_cache import answering, on_virtual_time, policy
from tests.virtual_time import loop_time


def replicas(upstream: Any, count: int = 3, **options: Any) -> list[Replica]:
    server = Server()
    return [Replica(upstream, policy(**options), FakeShared(server)) for _ in range(count)]


@on_virtual_time
async def test_all_replicas_together_call_once() -> None:
    upstream = FakeUpstream((0.1, None))
    answers = await asyncio.gather(*(one.get() for one in replicas(upstream) for _ in range(333)))
    assert upstream.calls == 1
    assert {answer.value["number"] for answer in answers} == {0}
    assert loop_time() < 1000.15  # no caller waits much longer than the call takes


@on_virtual_time
async def test_without_leases_every_replica_would_call() -> None:
    class Generous(FakeShared):
        async def acquire(self, key: str) -> Acquired:
            return Acquired(Lease(key), None)

    upstream, server = FakeUpstream((0.1, None)), Server()
    each = [Replica(upstream, policy(), Generous(server)) for _ in range(3)]
    await asyncio.gather(*(one.get() for one in each))
    assert upstream.calls == 3


@on_virtual_time
async def test_who_comes_between_reading_and_asking_finds_what_was_brought() -> None:
    upstream = FakeUpstream((0.0015, None))
    one, two = replicas(upstream, 2)
    first = asyncio.ensure_future(one.get())
    await asyncio.sleep(0.003)  # two reads before one has written, and asks after
    await asyncio.gather(first, two.get())
    assert upstream.calls == 1
    assert not one.store.server.leases


@on_virtual_time
async def test_when_the_holder_fails_the_next_one_tries() -> None:
    upstream = FakeUpstream((0.1, UpstreamTimeout("late")), (0.1, None))
    answers = await asyncio.gather(
        *(one.get() for one in replicas(upstream)), return_exceptions=True
    )
    assert sum(isinstance(answer, UpstreamTimeout) for answer in answers) == 1
    assert upstream.calls == 2


@on_virtual_time
async def test_when_the_holder_is_cancelled_the_next_one_tries() -> None:
    upstream = FakeUpstream((0.1, None))
    one, two, _ = replicas(upstream)
    holder = asyncio.ensure_future(one.get())
    await asyncio.sleep(0.05)
    waiting = asyncio.ensure_future(two.get())
    await asyncio.sleep(0.01)
    await one.flights.aclose()  # its process ends
    with pytest.raises(DeadlineExceeded):
        await holder
    await waiting
    assert loop_time() < 1000.3


@on_virtual_time
async def test_a_dead_holder_costs_one_lease_time() -> None:
    upstream = FakeUpstream((0.1, None))
    one, two, three = replicas(upstream)
    await one.store.acquire(  # and never heard of again
        await key_of(one)
    )
    began = loop_time()
    await asyncio.gather(two.get(), three.get())
    assert 1.0 < loop_time() - began < 1.2
    assert upstream.calls == 1


async def key_of(replica: Replica) -> str:
    """Return the key that the replicas use."""
    other = Replica(FakeUpstream(), policy())
    await other.get()
    key: str = next(iter(other.store._entries))
    return key


@on_virtual_time
async def test_no_caller_waits_past_its_deadline() -> None:
    upstream = FakeUpstream((5, None))
    one, two, _ = replicas(upstream)
    one.store.server.leases[await key_of(one)] = (Lease("k", b"other"), 1e9)
    began = loop_time()
    with pytest.raises(DeadlineExceeded):
        await two.get(seconds=2)
    assert loop_time() - began == pytest.approx(2, abs=0.1)
    await asyncio.sleep(1)
    assert len(two.flights) == 0  # nor does the flight go on for ever
    why = [event.why for event in two.heard if isinstance(event, Rejection)]
    assert "lease" in why


@on_virtual_time
async def test_replicas_do_not_wait_for_what_cannot_be_stored() -> None:
    call, calls = answering((b"cache-control", b"no-store"))
    each = replicas(call)
    await asyncio.gather(*(one.get() for one in each))
    for one in each:
        one.store.acquired = 0
    began = loop_time()
    await asyncio.gather(*(one.get() for one in each))
    assert loop_time() - began == pytest.approx(0.011)
    assert [one.store.acquired for one in each] == [0, 0, 0]
    assert len(calls) == 6


@on_virtual_time
async def test_an_answer_that_must_not_be_stored_removes_the_old_one() -> None:
    headers: list[tuple[bytes, bytes]] = []
    calls = 0

    async def call(_: Request) -> Response:
        nonlocal calls
        calls += 1
        return Response(calls, headers=list(headers), body=b"1")

    one = replicas(call, 1)[0]
    assert (await one.get()).value == 1
    headers.append((b"cache-control", b"no-store"))
    await asyncio.sleep(policy().ttl + 1)  # type: ignore[operator]
    await one.get()
    await asyncio.sleep(0.1)  # the refresh beside is over
    said = [(await one.get()).value for _ in range(2)]
    assert said == [calls - 1, calls]


@on_virtual_time
async def test_what_can_be_stored_again_is_leased_again() -> None:
    upstream = FakeUpstream()
    one = replicas(upstream, 1)[0]
    layer = one.store
    call, _ = answering((b"cache-control", b"no-store"))
    passing = Replica(call, policy(), layer)
    for number in range(1100):  # the list of such keys is bounded
        await passing.get(f"/{number}")
    layer.acquired = 0
    await passing.get("/0")
    await passing.get("/1099")
    assert layer.acquired == 1


@on_virtual_time
async def test_a_404_of_another_replica_is_raised_here_too() -> None:
    upstream = FakeUpstream((0.1, UpstreamStatus("no", status=404)))
    answers = await asyncio.gather(
        *(one.get() for one in replicas(upstream, negative=5)), return_exceptions=True
    )
    assert [getattr(answer, "status", None) for answer in answers] == [404, 404, 404]
    assert upstream.calls == 1


@on_virtual_time
async def test_what_was_purged_elsewhere_is_no_news() -> None:
    upstream = FakeUpstream()
    one, two = replicas(upstream, 2)
    await one.get(tags=("t",))
    await asyncio.sleep(1)
    await two.store.purge("t")
    assert (await two.get(tags=("t",))).provenance.cache == "miss"
    assert upstream.calls == 2
    assert (await one.get(tags=("t",))).provenance.cache == "hit"


@on_virtual_time
async def test_a_purged_entry_here_gives_way_to_a_newer_one_there() -> None:
    upstream = FakeUpstream()
    one, two = replicas(upstream, 2)
    await one.get(tags=("t",))
    await two.get(tags=("t",))
    await asyncio.sleep(1)
    await one.store.purge("t")
    await one.get(tags=("t",))
    two.store.purges.merge(one.store.purges.since(0))
    assert (await two.get(tags=("t",))).value == {"number": 1}
    assert upstream.calls == 2


@on_virtual_time
async def test_the_key_of_a_miss_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Request] = []
    compute = Keys.of

    def of(keys: Keys, request: Request) -> str:
        computed.append(request)
        return compute(keys, request)

    monkeypatch.setattr(Keys, "of", of)
    replica = Replica(FakeUpstream(), policy())
    assert (await replica.get()).provenance.cache == "miss"
    assert len(computed) == 1
