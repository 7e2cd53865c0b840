"""The layers together, in the order in which an upstream stacks them."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from gateway.call import stack
from gateway.errors import CallError, DeadlineExceeded, UpstreamStatus, UpstreamTimeout
from gateway.events import Attempt, BreakerChange, Events, Hedge, Retry
from gateway.layers.breaker import BreakerPolicy, breaker
from gateway.layers.budget import Budget
from gateway.layers.collapse import CollapsePolicy, Flights, collapse
from gateway.layers.concurrency import ConcurrencyPolicy, concurrency
from gateway.layers.cooldown import CoolDownPolicy, cooldown
from gateway.layers.deadline import deadline
from gateway.layers.hedge import HedgePolicy, hedge
from gateway.layers.observe import observe
from gateway.layers.retry import RetryPolicy, retry
from gateway.layers.timeout import TimeoutPolicy, timeout
from tests.layers.fakes import FakeUpstream, context, kinds, request
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from gateway.call import Call, Layer
    from gateway.events import Event


def layers(events: Events) -> dict[str, Layer | None]:
    rng = random.Random(5)
    policy = RetryPolicy()
    budget = Budget(policy.budget, loop_time)
    own = context(events, rng.random)
    return {
        "collapse": collapse(CollapsePolicy(), own, Flights()),
        "deadline": deadline(own),
        "retry": retry(policy, own, budget),
        "hedge": hedge(HedgePolicy(after=0.1, ratio=1), own, budget),
        "breaker": breaker(BreakerPolicy(), own),
        "cooldown": cooldown(CoolDownPolicy(), own),
        "limiter": concurrency(ConcurrencyPolicy(concurrency=8), own),
        "timeout": timeout(TimeoutPolicy(timeout=3), own),
        "observe": observe(own),
    }


def everything(upstream: Call, events: Events | None = None, *, without: str = "") -> Call:
    chosen = layers(events or Events())
    return stack(
        upstream, *(layer for name, layer in chosen.items() if name not in without.split())
    )


async def outcome(call: Call, seconds: float = 3, target: str = "/") -> str:
    try:
        await call(request(seconds, target=target))
    except CallError as error:
        return error.code
    return "ok"


def test_a_good_answer_passes_them_all() -> None:
    async def main() -> None:
        upstream = FakeUpstream()
        assert (await everything(upstream)(request())).value == {"number": 0}
        assert upstream.calls == 1

    run(main())


@pytest.mark.parametrize(("without", "opens"), [("", True), ("breaker", False)])
def test_a_hanging_upstream_is_left_alone_after_a_while(without: str, opens: bool) -> None:
    """Timeout and deadline are both 3 s, and still the breaker sees that the upstream hangs."""

    async def main() -> None:
        call = everything(FakeUpstream((3600, None)), without=f"hedge {without}")
        outcomes = []
        for number in range(8):
            outcomes += await asyncio.gather(
                *[outcome(call, target=f"/{number}/{caller}") for caller in range(8)]
            )
        assert ("breaker_open" in outcomes) is opens

    run(main())


@pytest.mark.no_cover
def test_an_upstream_that_always_fails_is_called_hardly_more_often_than_asked() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.005, UpstreamTimeout("late")))
        call = everything(upstream, without="collapse breaker hedge")
        calls = 0
        for _ in range(500):
            await asyncio.gather(*[outcome(call) for _ in range(8)])
            calls += 8
        assert upstream.calls <= 1.2 * calls + 10

    run(main())


def test_no_permit_is_held_during_backoff_and_none_is_lost() -> None:
    async def main() -> None:
        rng = random.Random(3)
        turns = [
            (rng.choice([0.001, 0.05, 0.2]), UpstreamStatus("no", status=503) if rng.random() < 0.2
             else None)
            for _ in range(3000)
        ]  # fmt: skip
        upstream = FakeUpstream(*turns)
        call = everything(upstream, without="breaker")
        tasks = []
        for number in range(1000):
            tasks.append(asyncio.ensure_future(outcome(call, 1, target=f"/{number % 50}")))
            if rng.random() < 0.3:
                rng.choice(tasks).cancel()
            await asyncio.sleep(rng.choice([0, 0.001, 0.01]))
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(5)
        assert upstream.in_flight == 0
        assert upstream.peak <= 8
        assert asyncio.all_tasks() == {asyncio.current_task()}
        upstream.turns = ((0.05, None),)
        upstream.peak = 0
        assert (
            await asyncio.gather(*[outcome(call, target=f"/{number}") for number in range(8)])
            == ["ok"] * 8
        )
        assert upstream.peak == 8

    run(main())


def test_the_deadline_holds_whatever_happens_below() -> None:
    async def main() -> None:
        rng = random.Random(9)
        for _ in range(200):
            turns = [(rng.random() * 2, rng.choice([None, UpstreamTimeout("late")]))
                     for _ in range(5)]  # fmt: skip
            call = everything(FakeUpstream(*turns))
            began = loop_time()
            seconds = rng.choice([0.05, 0.5, 1.0])
            await outcome(call, seconds)
            assert loop_time() - began <= seconds * 1.1 + 0.01

    run(main())


def test_events_tell_the_story() -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream((0.05, UpstreamStatus("no", status=503)), (5.0, None), (0.01, None))
        await everything(upstream, Events([heard.append]))(request())
        assert kinds(heard) == ["Attempt", "Retry", "Hedge", "Attempt", "Attempt"]
        attempts = [event for event in heard if isinstance(event, Attempt)]
        assert [attempt.status for attempt in attempts] == [503, 200, None]
        assert [attempt.cancelled for attempt in attempts] == [False, False, True]
        assert {Attempt, Retry, Hedge} == {type(event) for event in heard}

    run(main())


def test_it_recovers_by_itself_when_the_upstream_does() -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream((0.01, UpstreamStatus("no", status=500)))
        call = everything(upstream, Events([heard.append]))
        while not any(isinstance(event, BreakerChange) for event in heard):
            await outcome(call)
        assert await outcome(call) == "breaker_open"
        upstream.turns = ((0.01, None),)
        await asyncio.sleep(6.1)
        assert [await outcome(call) for _ in range(5)] == ["ok"] * 5

    run(main())


def test_a_caller_who_leaves_is_no_verdict_and_no_leak() -> None:
    async def main() -> None:
        call = everything(FakeUpstream((1, None)), without="collapse")
        task = asyncio.ensure_future(call(request()))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(DeadlineExceeded):
            await call(request(0))

    run(main())
