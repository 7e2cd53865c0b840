from __future__ import annotations

import asyncio
import gc
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call import Deadline, Request, Response
from gateway.errors import LimiterFull, UpstreamStatus, UpstreamTimeout
from gateway.events import Events, Hedge
from gateway.layers.budget import Budget, BudgetPolicy
from gateway.layers.hedge import HedgePolicy, Latency, hedge
from gateway.upstreams.http.operation import HttpOperation
from tests.layers.fakes import NAME, FakeUpstream, about, context, request
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.events import Event


def hedged(
    upstream: Call, events: Events | None = None, budget: Budget | None = None, **policy: Any
) -> Call:
    settings: dict[str, Any] = {"after": 0.1, "ratio": 1.0, **policy}
    return hedge(
        HedgePolicy(**settings),
        context(events),
        budget,
    )(upstream)


async def timed(call: Call, **options: Any) -> tuple[float, Any]:
    began = loop_time()
    response = await call(request(**options))
    return loop_time() - began, response.value["number"]


def no_task_is_left() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


def test_a_quick_answer_is_asked_for_once_and_makes_no_task() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[object] = []

        def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
            made.append(coro)
            return asyncio.Task(coro, loop=loop, **options)

        loop.set_task_factory(factory)
        upstream = FakeUpstream((0.09, None))
        assert await timed(hedged(upstream)) == (about(0.09), 0)
        await asyncio.sleep(1)
        assert upstream.calls == 1
        assert made == []

    run(main())


def test_the_second_request_wins_and_the_first_is_cancelled() -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream((5, None), (0.05, None))
        call = hedged(upstream, Events([heard.append]))
        assert await timed(call) == (about(0.15), 1)
        assert (upstream.cancelled, upstream.in_flight) == (1, 0)
        assert [r.attempt for r in upstream.requests] == [1, 2]
        assert heard == [Hedge(NAME, "section", 0.1)]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert no_task_is_left()

    run(main())


def test_the_first_request_wins_and_the_second_is_cancelled_and_gone() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.2, None), (5, None))
        assert await timed(hedged(upstream)) == (about(0.2), 0)
        assert (upstream.cancelled, upstream.in_flight) == (1, 0)
        assert no_task_is_left()

    run(main())


def test_a_failure_before_the_second_request_is_left_to_others() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.05, UpstreamTimeout("late")))
        with pytest.raises(UpstreamTimeout):
            await hedged(upstream)(request())
        await asyncio.sleep(1)
        assert upstream.calls == 1

    run(main())


def test_if_the_first_fails_the_second_is_waited_for() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.15, UpstreamTimeout("late")), (0.3, None))
        assert await timed(hedged(upstream)) == (about(0.4), 1)

    run(main())


@pytest.mark.parametrize("error", [UpstreamTimeout("late"), LimiterFull("full")])
def test_if_the_second_fails_the_first_is_waited_for(error: Exception) -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.5, None), (0.1, error))
        assert await timed(hedged(upstream)) == (about(0.5), 0)

    run(main())


@pytest.mark.parametrize("seconds", [(0.15, 0.3), (0.3, 0.05)])
def test_if_both_fail_the_first_failure_is_raised(seconds: tuple[float, float]) -> None:
    async def main() -> None:
        first = UpstreamStatus("no", status=503)
        upstream = FakeUpstream((seconds[0], first), (seconds[1], UpstreamTimeout("late")))
        with pytest.raises(UpstreamStatus) as caught:
            await hedged(upstream)(request())
        assert caught.value is first

    run(main())


def test_requests_that_end_in_the_same_moment_leave_nothing_behind() -> None:
    async def main() -> None:
        reported: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        first, second = asyncio.Event(), asyncio.Event()

        async def upstream(asked: Request) -> Response:
            if asked.attempt == 1:
                await first.wait()
                return Response({"number": 0})
            await second.wait()
            raise LimiterFull("full")

        def end_both() -> None:
            second.set()
            first.set()

        loop.call_later(0.2, end_both)
        assert await timed(hedged(upstream)) == (about(0.2), 0)
        await asyncio.sleep(0)
        gc.collect()
        assert second.is_set()
        assert reported == []

    run(main())


def test_a_bug_in_the_second_request_is_not_hidden() -> None:
    async def main() -> None:
        upstream = FakeUpstream((5, None), (0.1, ZeroDivisionError()))
        with pytest.raises(ZeroDivisionError):
            await hedged(upstream)(request())

    run(main())


def test_a_bug_in_the_first_request_ends_the_second() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.2, ZeroDivisionError()), (5, None))
        with pytest.raises(ZeroDivisionError):
            await hedged(upstream)(request())
        assert upstream.in_flight == 0
        assert no_task_is_left()

    run(main())


@pytest.mark.parametrize("at", [0.05, 0.15, 0.25])
def test_cancellation_ends_both(at: float) -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.2, UpstreamTimeout("late")), (5, None))
        task = asyncio.ensure_future(hedged(upstream)(request()))
        await asyncio.sleep(at)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert upstream.in_flight == 0
        assert no_task_is_left()

    run(main())


def test_cancellation_in_the_moment_the_second_wins_is_not_swallowed() -> None:
    async def main() -> None:
        upstream = FakeUpstream((5, None), (0.1, None))
        task = asyncio.ensure_future(hedged(upstream)(request()))

        def both() -> None:
            task.cancel()

        asyncio.get_running_loop().call_later(0.2, both)
        await asyncio.wait([task])
        assert task.cancelled()

    run(main())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_safe_requests_are_hedged(method: str) -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.5, None))
        await hedged(upstream)(request(method=method))
        assert upstream.calls == 1

    run(main())


def test_no_more_than_its_share() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.2, None))
        call = hedged(upstream, ratio=0.05)
        for _ in range(1000):
            await call(request())
        assert 1045 <= upstream.calls <= 1050

    run(main())


def test_it_is_charged_to_the_retry_budget_too() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.2, None))
        budget = Budget(BudgetPolicy(ratio=0, reserve=0), loop_time)
        call = hedged(upstream, budget=budget, ratio=0.125)
        for _ in range(8):
            await call(request())
        assert upstream.calls == 8
        budget.refund()
        await call(request())
        assert upstream.calls == 10  # what the budget had refused was not charged to the share
        await call(request())
        assert upstream.calls == 11

    run(main())


def test_p95_waits_for_enough_calls() -> None:
    latency = Latency()
    for number in range(Latency.ENOUGH - 1):
        latency.add(number)
    assert latency.p95 is None
    latency.add(1000)
    assert latency.p95 == pytest.approx(60, abs=2)


def test_p95_forgets() -> None:
    latency = Latency()
    for seconds in [1.0] * 300 + [0.01] * 300:
        latency.add(seconds)
    assert latency.p95 == 0.01


def test_p95_is_never_too_short_for_a_timer() -> None:
    latency = Latency()
    for _ in range(100):
        latency.add(0.00001)
    assert latency.p95 == 0.001


@pytest.mark.no_cover
@settings(max_examples=30)
@given(st.lists(st.floats(0.001, 100), min_size=256, max_size=600))
def test_p95_has_a_twentieth_above_it(durations: list[float]) -> None:
    latency = Latency()
    for seconds in durations:
        latency.add(seconds)
    looked_up = durations[: len(durations) // 32 * 32][-256:]
    assert latency.p95 is not None
    assert sum(seconds > latency.p95 for seconds in looked_up) <= 13
    assert sum(seconds >= latency.p95 for seconds in looked_up) >= 13


class Stragglers:
    """Answers in 10 ms, give or take, but for some that take a second."""

    def __init__(self, share: float) -> None:
        self.rng = random.Random(11)
        self.share = share
        self.calls = 0

    async def __call__(self, request: Any) -> Any:
        self.calls += 1
        slow = self.rng.random() < self.share
        await asyncio.sleep(1.0 if slow else self.rng.gauss(0.010, 0.001))


@pytest.mark.parametrize("on", [True, False])
def test_the_tail_is_cut_off_at_five_percent_more_calls(on: bool) -> None:
    async def main() -> None:
        upstream = Stragglers(0.02)
        call = hedged(upstream, after="p95", ratio=0.05) if on else upstream
        durations = []
        for number in range(4300):
            began = loop_time()
            await call(request())
            if number >= 300:
                durations.append(loop_time() - began)
        p99 = sorted(durations)[len(durations) * 99 // 100]
        if on:
            assert p99 < 0.2 / 5
            assert upstream.calls <= 4300 * 1.05
        else:
            assert p99 == pytest.approx(1)

    run(main())


def test_calls_that_are_late_by_a_hair_do_not_spend_what_stragglers_need() -> None:
    """Durations that scatter around the percentile, as real ones do, and 2 % of real stragglers."""

    async def main() -> tuple[float, float]:
        dice = random.Random(7)
        sent = 0

        async def call(request: Request) -> Response:
            nonlocal sent
            sent += 1
            await asyncio.sleep(1.0 if dice.random() < 0.02 else dice.uniform(0.005, 0.007))
            return Response(1)

        hedged = hedge(HedgePolicy(), context())(call)
        took = []
        for number in range(6000):
            began = loop_time()
            await hedged(Request(HttpOperation("/x"), Deadline(began + 10)))
            if number >= 1000:
                took.append(loop_time() - began)
            else:
                sent = 0
        took.sort()
        return took[len(took) * 99 // 100], sent / 5000 - 1

    p99, extra = run(main())
    assert p99 < 0.1
    assert extra <= 0.055
