from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cache.freshness import CachePolicy
from gateway.call import Response
from gateway.errors import BreakerOpen, CallError, UpstreamStatus, UpstreamTimeout
from tests.layers.fakes import FakeUpstream
from tests.layers.replicas import FakeShared, Replica, Server
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

STEADY: dict[str, Any] = {"jitter": 0, "early_refresh": 0}


def on_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    # pytest must see the parameters, and must not see the coroutine function behind them.
    del wrapper.__wrapped__
    wrapper.__signature__ = inspect.signature(test)  # type: ignore[attr-defined]
    return wrapper


def policy(**fields: Any) -> CachePolicy:
    return CachePolicy(**(STEADY | {"ttl": 60} | fields))


@on_virtual_time
async def test_a_fresh_answer_is_served_without_the_upstream() -> None:
    upstream = FakeUpstream()
    replica = Replica(upstream, policy())
    first = await replica.get()
    assert (first.provenance.cache, first.provenance.stale, first.provenance.as_of) == (
        "miss",
        False,
        pytest.approx(1000.01),
    )
    assert first.provenance.fresh_until == first.provenance.as_of + 60
    await asyncio.sleep(59)
    second = await replica.get()
    assert (second.provenance.cache, second.value) == ("hit", first.value)
    assert (second.provenance.as_of, second.provenance.fresh_until) == (
        first.provenance.as_of,
        first.provenance.fresh_until,
    )
    assert upstream.calls == 1
    assert replica.results() == ["miss", "hit"]


@on_virtual_time
async def test_an_expired_answer_is_fetched_again() -> None:
    upstream = FakeUpstream()
    replica = Replica(upstream, policy())
    await replica.get()
    await asyncio.sleep(60.1)
    again = await replica.get()
    assert (again.provenance.cache, again.value) == ("expired", {"number": 1})
    assert (await replica.get()).provenance.cache == "hit"


@on_virtual_time
async def test_a_stale_answer_is_served_and_refreshed_in_the_background() -> None:
    upstream = FakeUpstream((0.01, None), (5.0, None))
    replica = Replica(upstream, policy(stale_while_revalidate=600))
    await replica.get()
    await asyncio.sleep(100)
    began = loop_time()
    answers = [await replica.get() for _ in range(50)]
    assert loop_time() == began
    assert {
        (one.provenance.cache, one.provenance.stale, one.value["number"]) for one in answers
    } == {("stale", True, 0)}
    assert answers[0].provenance.as_of == pytest.approx(1000.01)
    assert answers[0].provenance.reason is None
    assert len(replica.refreshes) == 1
    await replica.refreshes.drain()
    fresh = await replica.get()
    assert (fresh.provenance.cache, fresh.provenance.stale, fresh.value) == (
        "hit",
        False,
        {"number": 1},
    )
    assert upstream.calls == 2


@on_virtual_time
async def test_beyond_its_window_a_stale_answer_is_not_served() -> None:
    upstream = FakeUpstream()
    replica = Replica(upstream, policy(stale_while_revalidate=600))
    await replica.get()
    await asyncio.sleep(661)
    assert (await replica.get()).provenance.cache == "expired"


@pytest.mark.parametrize(
    "error",
    [UpstreamTimeout("late"), UpstreamStatus("no", status=503, retryable=True), BreakerOpen("no")],
)
@on_virtual_time
async def test_a_stored_answer_covers_a_failing_upstream(error: CallError) -> None:
    upstream = FakeUpstream((0.01, None), (0.01, error))
    replica = Replica(upstream, policy(stale_if_error=600))
    await replica.get()
    await asyncio.sleep(100)
    covered = await replica.get()
    assert (covered.provenance.cache, covered.provenance.stale, covered.value) == (
        "stale",
        True,
        {"number": 0},
    )
    assert covered.provenance.as_of == pytest.approx(1000.01)
    assert isinstance(covered.provenance.reason, type(error))
    await asyncio.sleep(570)
    with pytest.raises(type(error)):
        await replica.get()


@on_virtual_time
async def test_a_caller_with_a_stored_answer_never_waits_past_its_deadline() -> None:
    upstream = FakeUpstream((0.01, None), (100, None))
    replica = Replica(upstream, policy(stale_if_error=600))
    await replica.get()
    await asyncio.sleep(100)
    began = loop_time()
    covered = await replica.get(seconds=2)
    assert loop_time() - began == pytest.approx(2, abs=0.02)
    assert (covered.provenance.stale, covered.provenance.reason.code) == (True, "deadline_exceeded")
    await replica.flights.aclose()


@pytest.mark.parametrize("status", [404, 410, 403, 401])
@on_virtual_time
async def test_what_is_gone_or_forbidden_is_not_covered_up(status: int) -> None:
    gone = UpstreamStatus("no", status=status)
    upstream = FakeUpstream((0.01, None), (0.01, gone), (0.01, UpstreamTimeout("late")))
    replica = Replica(upstream, policy(stale_while_revalidate=10, stale_if_error=600))
    await replica.get()
    await asyncio.sleep(100)
    with pytest.raises(UpstreamStatus):
        await replica.get()
    with pytest.raises(UpstreamTimeout):
        await replica.get()


@on_virtual_time
async def test_a_refresh_that_finds_it_gone_ends_the_stale_answers() -> None:
    upstream = FakeUpstream((0.01, None), (0.01, UpstreamStatus("no", status=404)))
    replica = Replica(upstream, policy(stale_while_revalidate=600))
    await replica.get()
    await asyncio.sleep(100)
    assert (await replica.get()).provenance.stale
    await replica.refreshes.drain()
    with pytest.raises(UpstreamStatus):
        await replica.get()


@on_virtual_time
async def test_a_404_is_stored_when_configured() -> None:
    upstream = FakeUpstream((0.01, UpstreamStatus("no", status=404)))
    replica = Replica(upstream, policy(negative=5))
    for _ in range(3):
        with pytest.raises(UpstreamStatus) as raised:
            await replica.get()
        assert raised.value.status == 404
        assert not raised.value.retryable
    assert upstream.calls == 1
    await asyncio.sleep(5.1)
    with pytest.raises(UpstreamStatus):
        await replica.get()
    assert upstream.calls == 2


@on_virtual_time
async def test_errors_are_not_stored_by_default() -> None:
    upstream = FakeUpstream((0.01, UpstreamStatus("no", status=404)))
    replica = Replica(upstream, policy())
    for _ in range(2):
        with pytest.raises(UpstreamStatus):
            await replica.get()
    assert upstream.calls == 2
    other = FakeUpstream((0.01, UpstreamStatus("no", status=500, retryable=True)))
    replica = Replica(other, policy(negative=5))
    for _ in range(2):
        with pytest.raises(UpstreamStatus):
            await replica.get()
    assert other.calls == 2


def answering(*headers: tuple[bytes, bytes]) -> tuple[Any, list[int]]:
    calls: list[int] = []

    async def call(request: Any) -> Response:
        calls.append(1)
        await asyncio.sleep(0.01)
        return Response(len(calls), body=b"%d" % len(calls), headers=headers)

    return call, calls


@on_virtual_time
async def test_what_is_asked_for_ahead_of_time_never_expires() -> None:
    upstream = FakeUpstream((2, None))
    replica = Replica(upstream, policy(ttl=10))
    await replica.get()
    for _ in range(20):
        await asyncio.sleep(7)
        assert (await replica.get(min_fresh=7)).provenance.cache == "hit"
    assert upstream.calls == 20  # and one that is just being begun


@pytest.mark.parametrize("said", [b"no-store", b"private", b"max-age=60, Private"])
@on_virtual_time
async def test_an_answer_that_must_not_be_stored_is_not(said: bytes) -> None:
    call, calls = answering((b"cache-control", said))
    replica = Replica(call, policy())
    answers = [await replica.get() for _ in range(3)]
    assert [one.provenance.cache for one in answers] == ["pass"] * 3
    assert [one.provenance.as_of for one in answers] == [None] * 3
    assert len(calls) == 3


@on_virtual_time
async def test_the_upstream_decides_when_asked_to() -> None:
    call, calls = answering((b"cache-control", b"max-age=30"), (b"age", b"10"))
    replica = Replica(call, policy(ttl="upstream"))
    first = await replica.get()
    assert first.provenance.as_of == pytest.approx(990.01)
    assert first.provenance.fresh_until == pytest.approx(1020.01)
    await asyncio.sleep(19)
    assert (await replica.get()).provenance.cache == "hit"
    await asyncio.sleep(2)
    assert (await replica.get()).provenance.cache == "expired"
    assert len(calls) == 2


@on_virtual_time
async def test_a_hot_entry_is_refreshed_before_it_expires() -> None:
    upstream = FakeUpstream((0.5, None))
    replica = Replica(upstream, policy(early_refresh=1), random=lambda: 0.9)
    await replica.get()
    await asyncio.sleep(58.5)  # cost 0.5 * -ln(0.1) = 1.15 s before the end
    assert (await replica.get()).provenance.cache == "hit"
    assert len(replica.refreshes) == 0
    await asyncio.sleep(1)
    assert (await replica.get()).provenance.cache == "hit"
    assert len(replica.refreshes) == 1
    await asyncio.sleep(1)
    assert (await replica.get()).value == {"number": 1}
    assert upstream.calls == 2


@on_virtual_time
async def test_only_get_is_kept_and_a_policy_that_keeps_nothing_costs_nothing() -> None:
    upstream = FakeUpstream()
    replica = Replica(upstream, policy())
    for _ in range(2):
        assert (await replica.get(method="POST")).provenance.cache == ""
    for _ in range(2):
        assert (await replica.get(cache=CachePolicy(ttl=0))).provenance.cache == ""
    assert (await Replica(upstream, None).get()).provenance.cache == ""
    assert upstream.calls == 5


@on_virtual_time
async def test_a_section_has_its_own_policy() -> None:
    upstream = FakeUpstream()
    replica = Replica(upstream, policy())
    own = policy(ttl=5)
    await replica.get(cache=own)
    await replica.get(cache=own)
    assert upstream.calls == 1
    await asyncio.sleep(6)
    assert (await replica.get(cache=own)).provenance.cache == "expired"
    assert (await replica.get()).provenance.cache == "miss"
    assert (
        await replica.get(cache=policy())
    ).provenance.cache == "hit"  # the same as the upstream's
    assert upstream.calls == 3
    assert (await Replica(upstream, None, replica.store).get(cache=own)).provenance.cache == "hit"


@on_virtual_time
async def test_credentials_and_generations_are_kept_apart() -> None:
    upstream = FakeUpstream()
    store = Replica(upstream, policy()).store
    old, new = (Replica(upstream, policy(), store, generation=g) for g in (b"1", b"2"))
    seen = [
        (await replica.get(headers=headers)).value["number"]
        for replica in (old, new)
        for headers in ((), ((b"authorization", b"a"),), ((b"authorization", b"b"),))
        for _ in range(2)
    ]
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


@on_virtual_time
async def test_callers_at_once_share_a_fetch() -> None:
    upstream = FakeUpstream((0.1, None))
    replica = Replica(upstream, policy())
    answers = await asyncio.gather(*(replica.get() for _ in range(10)))
    assert [one.provenance.cache for one in answers] == ["miss"] + ["collapsed"] * 9
    assert {one.value["number"] for one in answers} == {0}
    assert {one.provenance.fresh_until for one in answers} == {answers[0].provenance.fresh_until}
    assert upstream.calls == 1
    await asyncio.sleep(61)
    assert (await replica.get()).provenance.cache == "expired"


@on_virtual_time
async def test_a_caller_who_leaves_leaves_the_answer_behind() -> None:
    upstream = FakeUpstream((0.1, None))
    replica = Replica(upstream, policy())
    caller = asyncio.ensure_future(replica.get())
    await asyncio.sleep(0.05)
    caller.cancel()
    await asyncio.sleep(0.1)
    assert (await replica.get()).provenance.cache == "hit"


@pytest.mark.parametrize(
    "tag", ["dashboard:a", "section:a.b", "upstream:weather", "*", "the key itself"]
)
@on_virtual_time
async def test_what_is_purged_is_not_served_any_more(tag: str) -> None:
    upstream = FakeUpstream((0.01, None), (0.01, UpstreamTimeout("late")), (0.01, None))
    replica = Replica(upstream, policy(stale_if_error=600))
    tags = ("dashboard:a", "section:a.b")
    await replica.get(tags=tags)
    if tag == "the key itself":
        tag = next(iter(replica.store._entries))
    await replica.store.purge("dashboard:z")
    assert (await replica.get(tags=tags)).provenance.cache == "hit"
    await asyncio.sleep(1)
    await replica.store.purge(tag)
    with pytest.raises(UpstreamTimeout):  # not even when the upstream fails
        await replica.get(tags=tags)
    assert (await replica.get(tags=tags)).provenance.cache == "miss"
    assert (await replica.get(tags=tags)).provenance.cache == "hit"


@on_virtual_time
async def test_what_was_asked_for_before_a_purge_is_not_kept_past_it() -> None:
    upstream = FakeUpstream((1, None))
    replica = Replica(upstream, policy())
    asked = asyncio.ensure_future(replica.get(tags=("t",)))
    await asyncio.sleep(0.5)
    await replica.store.purge("t")
    await asked
    assert (await replica.get(tags=("t",))).provenance.cache == "miss"


@on_virtual_time
async def test_a_stale_entry_of_another_replica_is_served_and_refreshed() -> None:
    upstream, server = FakeUpstream(), Server()
    one = Replica(upstream, policy(stale_while_revalidate=600), FakeShared(server))
    two = Replica(upstream, policy(stale_while_revalidate=600), FakeShared(server))
    await one.get()
    assert (await two.get()).provenance.cache == "hit"
    assert (await two.get()).provenance.cache == "hit"
    assert two.store.gets == 1
    await asyncio.sleep(100)
    three = Replica(upstream, policy(stale_while_revalidate=600), FakeShared(server))
    assert (await three.get()).provenance.stale
    await three.refreshes.drain()
    assert upstream.calls == 2
    assert (await one.get()).provenance.stale  # its own is old, but no upstream is called for that
    await one.refreshes.drain()
    assert (await one.get()).value == {"number": 1}
    assert upstream.calls == 2


@on_virtual_time
async def test_without_its_server_a_replica_goes_on_alone() -> None:
    upstream, server = FakeUpstream((0.1, None)), Server()
    replicas = [Replica(upstream, policy(), FakeShared(server)) for _ in range(3)]
    for replica in replicas:
        replica.store.up = False
    await asyncio.gather(*(one.get() for one in replicas for _ in range(100)))
    assert upstream.calls == 3
    assert [(await one.get()).provenance.cache for one in replicas] == ["hit"] * 3


@on_virtual_time
async def test_what_is_purged_during_a_call_does_not_stand_in_when_it_fails() -> None:
    upstream = FakeUpstream((0, None), (1, UpstreamTimeout("late")))
    replica = Replica(upstream, policy(stale_if_error=3600))
    await replica.get(tags=("t",))
    await asyncio.sleep(70)  # expired: the next request fetches
    asked = asyncio.ensure_future(replica.get(tags=("t",)))
    await asyncio.sleep(0.5)
    await replica.store.purge("t")
    with pytest.raises(UpstreamTimeout):
        await asked
