from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call import Response
from gateway.errors import (
    BreakerOpen,
    DeadlineExceeded,
    ErrorCode,
    UpstreamPayload,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.events import Events, Rejection, Retry
from gateway.layers.budget import Budget, BudgetPolicy
from gateway.layers.retry import RetryPolicy, retry
from tests.layers.fakes import NAME, FakeUpstream, about, context, request, sequence
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.call import Call, Request
    from gateway.events import Event

RESET = UpstreamUnreachable("reset")


def busy(status: int = 503, after: float | None = None) -> UpstreamStatus:
    return UpstreamStatus("no", status=status, retry_after=after)


def retried(
    upstream: Call,
    *,
    events: Events | None = None,
    budget: Budget | None = None,
    random: Callable[[], float] = lambda: 1.0,
    **policy: Any,
) -> Call:
    return retry(
        RetryPolicy(**policy),
        context(events, random),
        budget or Budget(BudgetPolicy(reserve=100), loop_time),
    )(upstream)


def test_a_failure_is_repeated_until_it_succeeds() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, RESET), (0, busy()), (0, None))
        response = await retried(upstream)(request())
        assert response.value == {"number": 2}
        assert [r.attempt for r in upstream.requests] == [1, 2, 3]

    run(main())


def test_a_good_answer_is_asked_for_once() -> None:
    async def main() -> None:
        upstream = FakeUpstream()
        await retried(upstream)(request())
        assert upstream.calls == 1

    run(main())


def test_the_last_failure_is_raised_after_the_last_attempt() -> None:
    async def main() -> None:
        last = UpstreamTimeout("third")
        upstream = FakeUpstream((0, RESET), (0, RESET), (0, last))
        with pytest.raises(UpstreamTimeout) as caught:
            await retried(upstream, attempts=3)(request())
        assert caught.value is last
        assert upstream.calls == 3

    run(main())


def test_backoff_doubles_up_to_its_cap() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, RESET))
        with pytest.raises(UpstreamUnreachable):
            await retried(upstream, attempts=6, base=0.1, cap=0.5)(request(100))
        waits = [b - a for a, b in zip(upstream.started, upstream.started[1:], strict=False)]
        assert waits == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5], abs=1e-6)

    run(main())


def test_jitter_is_full() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, RESET))
        with pytest.raises(UpstreamUnreachable):
            await retried(upstream, attempts=3, base=0.1, random=sequence(0.0, 0.25))(request())
        waits = [b - a for a, b in zip(upstream.started, upstream.started[1:], strict=False)]
        assert waits == pytest.approx([0.0, 0.05], abs=1e-6)

    run(main())


def test_it_never_sleeps_past_the_deadline() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.95, RESET))
        began = loop_time()
        with pytest.raises(UpstreamUnreachable):
            await retried(upstream, base=0.1)(request(1))
        assert loop_time() - began == pytest.approx(0.95)
        assert upstream.calls == 1

    run(main())


@pytest.mark.parametrize(
    ("after", "calls", "seconds"), [(2.0, 2, 2.05), (0.0, 2, 0.05), (9.99, 1, 0)]
)
def test_retry_after_is_honoured_when_it_fits(after: float, calls: int, seconds: float) -> None:
    async def main() -> None:
        failing = busy(429, after)
        upstream = FakeUpstream((0, failing), (0, None) if calls > 1 else (0, failing))
        began = loop_time()
        if calls > 1:
            await retried(upstream)(request(10))
        else:
            with pytest.raises(UpstreamStatus):
                await retried(upstream)(request(10))
        assert upstream.calls == calls
        assert loop_time() - began == pytest.approx(seconds, abs=1e-3)

    run(main())


@pytest.mark.parametrize(
    "error",
    [
        busy(404),
        busy(500),
        UpstreamPayload("not JSON"),
        BreakerOpen("open"),
        DeadlineExceeded("spent"),
        ZeroDivisionError(),
    ],
)
def test_what_is_not_worth_it_is_not_repeated(error: Exception) -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, error))
        with pytest.raises(type(error)):
            await retried(upstream)(request())
        assert upstream.calls == 1

    run(main())


def test_statuses_are_configurable() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, busy(500)), (0, None))
        await retried(upstream, statuses=[500])(request())
        assert upstream.calls == 2

    run(main())


@pytest.mark.parametrize(("method", "calls"), [("GET", 3), ("HEAD", 3), ("POST", 1), ("PUT", 1)])
def test_only_safe_requests_are_repeated(method: str, calls: int) -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, RESET))
        with pytest.raises(UpstreamUnreachable):
            await retried(upstream)(request(method=method))
        assert upstream.calls == calls

    run(main())


def test_a_refused_repetition_raises_the_failure_before_it() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, RESET), (0, BreakerOpen("open")))
        with pytest.raises(UpstreamUnreachable) as caught:
            await retried(upstream)(request())
        assert caught.value is RESET
        assert upstream.calls == 2

    run(main())


def test_cancellation_during_the_backoff_ends_it() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, RESET))
        task = asyncio.ensure_future(retried(upstream, base=1)(request()))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert upstream.calls == 1

    run(main())


def test_cancellation_during_a_repetition_ends_it() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, RESET), (60, None))
        task = asyncio.ensure_future(retried(upstream)(request(100)))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert upstream.cancelled == 1

    run(main())


def test_an_upstream_that_always_fails_gets_a_fifth_more_calls() -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream((0, RESET))
        budget = Budget(BudgetPolicy(), loop_time)
        call = retried(upstream, budget=budget, events=Events([heard.append]))
        for _ in range(2000):
            with pytest.raises(UpstreamUnreachable):
                await call(request())
        assert 2000 * 1.15 <= upstream.calls <= 2000 * 1.2 + 3
        refused = Rejection(NAME, "section", ErrorCode.UPSTREAM_UNREACHABLE, "retry_budget")
        assert refused in heard

    run(main())


def test_retries_are_reported() -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream((0, RESET), (0, busy()), (0, None))
        await retried(upstream, events=Events([heard.append]), base=0.1)(request())
        assert heard == [
            Retry(NAME, "section", 2, about(0.1), ErrorCode.UPSTREAM_UNREACHABLE),
            Retry(NAME, "section", 3, about(0.2), ErrorCode.UPSTREAM_STATUS),
        ]

    run(main())


def test_repeated_calls_leave_no_reference_cycle() -> None:
    class Late(UpstreamTimeout):
        pass

    async def failing(_: Request) -> Response:
        raise Late("late")

    async def refused(request: Request) -> Response:
        raise Late("late") if request.attempt == 1 else BreakerOpen("open")

    async def repaired(request: Request) -> Response:
        if request.attempt == 1:
            raise Late("late")
        return Response(1)

    async def main() -> None:
        for call in (failing, refused, repaired):
            with contextlib.suppress(Late):
                await retried(call)(request())

    gc.collect()
    gc.disable()
    try:
        run(main())
        assert not [one for one in gc.get_objects() if isinstance(one, Late)]
    finally:
        gc.enable()


def test_calls_at_once_do_not_share_their_attempts() -> None:
    async def main() -> None:
        upstream = FakeUpstream(*[(0.01, RESET)] * 20, (0.01, None))
        call = retried(upstream, attempts=3, random=sequence(0.3, 0.9, 0.1, 0.5))
        answers = await asyncio.gather(
            *[call(request()) for _ in range(15)], return_exceptions=True
        )
        for number in (1, 2, 3):
            assert sum(r.attempt == number for r in upstream.requests) <= 15
        assert upstream.calls <= 45
        assert any(not isinstance(answer, Exception) for answer in answers)

    run(main())


@settings(max_examples=50, deadline=None)
@given(
    fails=st.lists(st.booleans(), max_size=12),
    attempts=st.integers(2, 10),
    seconds=st.floats(0.01, 3),
)
def test_within_attempts_and_deadline_whatever_fails(
    fails: list[bool], attempts: int, seconds: float
) -> None:
    async def main() -> None:
        turns = [(0.05, RESET if fail else None) for fail in fails]
        upstream = FakeUpstream(*turns, (0.05, None))
        began = loop_time()
        try:
            await retried(upstream, attempts=attempts)(request(seconds))
        except UpstreamUnreachable:
            assert all(fails[: upstream.calls])
        assert upstream.calls <= attempts
        assert all(at - began < seconds for at in upstream.started)

    run(main())
