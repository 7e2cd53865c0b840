from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import (
    BreakerOpen,
    ErrorCode,
    LimiterFull,
    UpstreamPayload,
    UpstreamStatus,
    UpstreamTimeout,
)
from gateway.events import BreakerChange, Events, Rejection
from gateway.layers.breaker import Breaker, BreakerPolicy, breaker
from tests.layers.fakes import NAME, FakeUpstream, about, context, request, sequence
from tests.virtual_time import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.call import Call
    from gateway.events import Event

FAILURE = UpstreamTimeout("late")


def guarded(
    upstream: Call,
    *,
    events: Events | None = None,
    random: Callable[[], float] = lambda: 0.5,
    **policy: Any,
) -> Call:
    return breaker(
        BreakerPolicy(**policy),
        context(events, random),
    )(upstream)


async def ask(call: Call, times: int = 1) -> list[str]:
    """Return what each of so many calls, one after the other, came to."""
    outcomes = []
    for _ in range(times):
        try:
            await call(request())
        except Exception as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("ok")
    return outcomes


def test_it_opens_at_the_failure_rate_and_calls_no_more() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, FAILURE))
        call = guarded(upstream)
        assert await ask(call, 30) == ["UpstreamTimeout"] * 20 + ["BreakerOpen"] * 10
        assert upstream.calls == 20

    run(main())


def test_below_the_rate_it_stays_closed() -> None:
    async def main() -> None:
        upstream = FakeUpstream(*[(0.0, None), (0.0, None), (0.0, FAILURE)] * 100)
        outcomes = await ask(guarded(upstream), 300)
        assert "BreakerOpen" not in outcomes

    run(main())


def test_few_calls_say_nothing() -> None:
    async def main() -> None:
        assert "BreakerOpen" not in await ask(guarded(FakeUpstream((0, FAILURE)), minimum=50), 49)

    run(main())


def test_failures_leave_the_window() -> None:
    async def main() -> None:
        call = guarded(FakeUpstream((1.2, FAILURE)), window=10, minimum=11)
        assert "BreakerOpen" not in await ask(call, 100)

    run(main())


def test_old_good_calls_leave_the_window_too() -> None:
    async def main() -> None:
        upstream = FakeUpstream(*[(0.0, None)] * 1000, (0, FAILURE))
        call = guarded(upstream)
        await ask(call, 1000)
        await asyncio.sleep(12)
        assert (await ask(call, 21))[-1] == "BreakerOpen"

    run(main())


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (FAILURE, True),
        (UpstreamPayload("not JSON", status=200), True),
        (UpstreamStatus("no", status=500), True),
        (UpstreamStatus("no", status=503, retryable=True), True),
        (UpstreamStatus("no", status=429, retryable=True), True),
        (UpstreamStatus("no", status=404), False),
        (UpstreamStatus("no", status=403), False),
        (LimiterFull("full"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_only_the_upstreams_own_failures_count(error: Exception, opens: bool) -> None:
    async def main() -> None:
        outcomes = await ask(guarded(FakeUpstream((0, error))), 40)
        assert ("BreakerOpen" in outcomes) is opens

    run(main())


def test_a_rejection_says_when_to_retry() -> None:
    async def main() -> None:
        call = guarded(FakeUpstream((0, FAILURE)), open_for=5)
        await ask(call, 20)
        await asyncio.sleep(1.5)
        with pytest.raises(BreakerOpen) as caught:
            await call(request())
        assert caught.value.retry_after == pytest.approx(3.5)
        assert caught.value.upstream == NAME

    run(main())


def test_it_recovers_by_itself() -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream(*[(0.0, FAILURE)] * 20, (0.0, None))
        call = guarded(upstream, events=Events([heard.append]))
        await ask(call, 20)
        await asyncio.sleep(4.9)
        assert await ask(call) == ["BreakerOpen"]
        await asyncio.sleep(0.2)
        assert await ask(call, 10) == ["ok"] * 10
        assert heard == [
            BreakerChange(
                NAME,
                "section",
                "closed",
                "open",
                about(5),
                ErrorCode.UPSTREAM_TIMEOUT,
                detail=FAILURE.detail,
            ),
            Rejection(NAME, "section", ErrorCode.BREAKER_OPEN, "breaker_open"),
            BreakerChange(NAME, "section", "open", "half_open"),
            BreakerChange(NAME, "section", "half_open", "closed"),
        ]

    run(main())


def test_a_failed_probe_opens_it_for_longer_up_to_a_bound() -> None:
    async def main() -> None:
        call = guarded(FakeUpstream((0, FAILURE)), open_for=1)
        await ask(call, 20)
        for seconds in (1, 2, 4, 8, 8, 8):
            await asyncio.sleep(seconds - 0.01)
            assert await ask(call) == ["BreakerOpen"]
            await asyncio.sleep(0.02)
            assert await ask(call, 2) == ["UpstreamTimeout", "BreakerOpen"]

    run(main())


def test_once_recovered_the_next_opening_is_short_again() -> None:
    async def main() -> None:
        upstream = FakeUpstream(
            *[(0.0, FAILURE)] * 22, *[(0.0, None)] * 3, *[(0.0, FAILURE)] * 20, (0.0, None)
        )
        call = guarded(upstream, open_for=1)
        await ask(call, 20)
        for seconds in (1.1, 2.1):
            await asyncio.sleep(seconds)
            await ask(call, 1)
        await asyncio.sleep(4.1)
        assert await ask(call, 3) == ["ok"] * 3
        await ask(call, 20)
        await asyncio.sleep(1.1)
        assert await ask(call) == ["ok"]

    run(main())


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 4.0), (0.5, 5.0), (1.0, 6.0)])
def test_reopening_is_jittered(random: float, seconds: float) -> None:
    machine = Breaker(BreakerPolicy(minimum=1), sequence(random))
    machine.fail(machine.epoch, 0.0)
    assert not machine.admit(seconds - 0.001)
    assert machine.admit(seconds + 0.001)


def test_probes_are_bounded() -> None:
    async def main() -> None:
        upstream = FakeUpstream(*[(0.0, FAILURE)] * 20, (1.0, None))
        call = guarded(upstream, probes=3)
        await ask(call, 20)
        await asyncio.sleep(6)
        outcomes = await asyncio.gather(*[ask(call) for _ in range(50)])
        assert outcomes.count(["ok"]) == 3
        assert outcomes.count(["BreakerOpen"]) == 47
        assert upstream.calls == 23

    run(main())


def test_a_probe_in_flight_says_come_back_soon() -> None:
    async def main() -> None:
        upstream = FakeUpstream(*[(0.0, FAILURE)] * 20, (1.0, None))
        call = guarded(upstream, probes=1)
        await ask(call, 20)
        await asyncio.sleep(6)
        probe = asyncio.ensure_future(call(request()))
        await asyncio.sleep(0)
        with pytest.raises(BreakerOpen) as caught:
            await call(request())
        assert caught.value.retry_after == 1.0
        await probe

    run(main())


@pytest.mark.parametrize("end", ["cancelled", "rejected"])
def test_a_probe_without_a_verdict_is_given_back(end: str) -> None:
    async def main() -> None:
        last = LimiterFull("full") if end == "rejected" else None
        upstream = FakeUpstream(*[(0.0, FAILURE)] * 20, *[(1.0, last)] * 3, (1.0, None))
        call = guarded(upstream, probes=3)
        await ask(call, 20)
        await asyncio.sleep(6)
        probes = [asyncio.ensure_future(call(request())) for _ in range(3)]
        await asyncio.sleep(0.5)
        if end == "cancelled":
            for probe in probes:
                probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        assert await ask(call, 4) == ["ok"] * 4

    run(main())


@pytest.mark.no_cover
def test_cancelled_calls_never_open_it() -> None:
    async def main() -> None:
        call = guarded(FakeUpstream((60, None)))
        tasks = [asyncio.ensure_future(call(request())) for _ in range(50)]
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        probe = asyncio.ensure_future(call(request()))
        await asyncio.sleep(1)
        assert not probe.done()
        probe.cancel()

    run(main())


def test_verdicts_from_before_it_opened_do_not_close_it() -> None:
    async def main() -> None:
        upstream = FakeUpstream(*[(7.0, None)] * 5, *[(0.0, FAILURE)] * 20, (60.0, None))
        call = guarded(upstream, probes=3)
        slow = [asyncio.ensure_future(call(request())) for _ in range(5)]
        await asyncio.sleep(0)
        await ask(call, 20)
        await asyncio.sleep(6)
        probe = asyncio.ensure_future(call(request(100)))
        await asyncio.gather(*slow)
        others = [asyncio.ensure_future(ask(call)) for _ in range(4)]
        await asyncio.sleep(1)
        assert sum(other.done() for other in others) == 2  # two probes more, the rest refused
        for task in (probe, *others):
            task.cancel()

    run(main())


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["start", "start", "good", "bad", "forget", "wait"]),
            st.integers(0, 30),
        ),
        max_size=120,
    ),
    probes=st.integers(1, 4),
)
def test_never_more_probes_in_flight_than_allowed(
    steps: list[tuple[str, int]], probes: int
) -> None:
    policy = BreakerPolicy(minimum=2, probes=probes, open_for=1)
    machine = Breaker(policy, lambda: 0.5)
    now = 0.0
    flying: list[int] = []
    for step, number in steps:
        if step == "wait":
            now += number / 10
        elif step == "start":
            if machine.admit(now):
                flying.append(machine.epoch)
        elif flying:
            epoch = flying.pop(number % len(flying))
            if step == "forget":
                machine.forget(epoch)
            else:
                (machine.succeed if step == "good" else machine.fail)(epoch, now)
        if machine.state == "half_open":
            assert flying.count(machine.epoch) + machine._proven <= probes
        assert machine._probing == (
            flying.count(machine.epoch) if machine.state == "half_open" else 0
        )
