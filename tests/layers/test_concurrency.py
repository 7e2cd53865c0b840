from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.aio.adaptive_lifo import AdaptiveLifo
from gateway.aio.deadlines import QUEUE_MARGIN, TICK
from gateway.errors import DeadlineExceeded, ErrorCode, LimiterFull, UpstreamStatus, UpstreamTimeout
from gateway.events import Events, LimitChange, Rejection
from gateway.layers.concurrency import ConcurrencyPolicy, Permits, Waiter, concurrency
from tests.layers.fakes import NAME, FakeUpstream, about, context, request
from tests.operations import target_of
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from gateway.call import Call, Response
    from gateway.events import Event


def limited(upstream: Call, events: Events | None = None, **policy: Any) -> Call:
    return concurrency(ConcurrencyPolicy(**policy), context(events))(upstream)


def start(call: Call, seconds: float = 100) -> asyncio.Future[Response]:
    return asyncio.ensure_future(call(request(seconds)))


class Awaited(Waiter):
    """A waiter for a permit that is awaited."""

    def __init__(self, permits: Permits) -> None:
        super().__init__(permits)
        self.pool = permits
        self.permit: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def granted(self) -> None:
        if self.permit.cancelled():  # and its task has not run yet
            self.pool.release()
        else:
            self.permit.set_result(True)

    def expired(self) -> None:
        if not self.permit.done():
            self.permit.set_result(False)


async def waited(permits: Permits, seconds: float) -> bool:
    """Wait at most `seconds` for a permit; return whether one was taken."""
    waiter = Awaited(permits)
    permits.park(waiter, seconds)
    try:
        return await waiter.permit
    except asyncio.CancelledError:
        if not waiter.permit.cancelled() and waiter.permit.result():
            permits.release()  # granted at the moment of the cancellation: pass it on
        else:
            permits.leave(waiter)
        raise


async def blocked(limiter: Permits) -> asyncio.Task[bool]:
    task = asyncio.create_task(waited(limiter, 100))
    await asyncio.sleep(0)
    return task


def test_no_more_at_once_than_allowed() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.1, None))
        call = limited(upstream, concurrency=5, queue_timeout=60)
        await asyncio.gather(*[start(call) for _ in range(50)])
        assert upstream.peak == 5
        assert upstream.calls == 50

    run(main())


def test_first_come_first_served() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.1, None))
        call = limited(upstream, concurrency=1, queue_timeout=60)
        await asyncio.gather(*[call(request(100, target=f"/{number}")) for number in range(10)])
        assert [target_of(r) for r in upstream.requests] == [f"/{number}" for number in range(10)]

    run(main())


def test_a_newcomer_never_overtakes_who_waits() -> None:
    async def main() -> None:
        upstream = FakeUpstream((1.0, None))
        call = limited(upstream, concurrency=1, queue_timeout=60)
        first, waiting = start(call), start(call)
        await first
        newcomer = start(call)
        await waiting
        assert upstream.in_flight == 1 or not newcomer.done()
        await newcomer
        assert upstream.started[2] - upstream.started[1] == pytest.approx(1)

    run(main())


def test_the_queue_is_bounded() -> None:
    async def main() -> None:
        heard: list[Event] = []
        call = limited(FakeUpstream((60, None)), Events([heard.append]), concurrency=1, queue=2)
        tasks = [start(call) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(LimiterFull, match="in flight") as caught:
            await call(request())
        assert caught.value.retry_after == 1
        assert caught.value.shed
        assert caught.value.upstream == NAME
        assert heard == [Rejection(NAME, "section", ErrorCode.LIMITER_FULL, "limiter_full")]
        for task in tasks:
            task.cancel()

    run(main())


def test_without_a_queue_no_call_waits() -> None:
    async def main() -> None:
        upstream = FakeUpstream((1, None))
        call = limited(upstream, concurrency=1, queue=0)
        first = start(call)
        await asyncio.sleep(0)
        with pytest.raises(LimiterFull):
            await call(request())
        await first
        await call(request())

    run(main())


def test_the_wait_is_bounded() -> None:
    async def main() -> None:
        heard: list[Event] = []
        call = limited(
            FakeUpstream((5, None)), Events([heard.append]), concurrency=1, queue_timeout=0.5
        )
        first = start(call)
        await asyncio.sleep(0)
        began = loop_time()
        with pytest.raises(LimiterFull):
            await call(request())
        assert loop_time() - began == pytest.approx(0.5 + TICK / 2, abs=TICK)
        assert heard == [Rejection(NAME, "section", ErrorCode.LIMITER_FULL, "queue_timeout")]
        await first
        await call(request())

    run(main())


@pytest.mark.parametrize(("free_after", "served"), [(0.8, True), (5, False)])
def test_the_wait_goes_on_when_the_deadline_is_put_off(free_after: float, served: bool) -> None:
    async def main() -> None:
        call = limited(FakeUpstream((free_after, None)), concurrency=1, queue_timeout=1)
        first = start(call)
        await asyncio.sleep(0)
        asked = request(0.3)
        waiting = asyncio.ensure_future(call(asked))
        await asyncio.sleep(0.2)
        asked.deadline.at += 50  # another caller has joined the flight
        began = loop_time() - 0.2
        if served:
            await waiting
        else:
            with pytest.raises(LimiterFull):
                await waiting
            assert loop_time() - began == pytest.approx(1 + TICK / 2, abs=TICK)
        await first

    run(main())


@pytest.mark.parametrize("left", [0.3, 0.0, -1.0])
def test_the_wait_ends_before_the_deadline(left: float) -> None:
    async def main() -> None:
        heard: list[Event] = []
        call = limited(
            FakeUpstream((5, None)), Events([heard.append]), concurrency=1, queue_timeout=1
        )
        first = start(call)
        await asyncio.sleep(0)
        began = loop_time()
        with pytest.raises(DeadlineExceeded) as caught:
            await call(request(left))
        assert loop_time() - began <= max(left - QUEUE_MARGIN + TICK, 0)
        assert loop_time() - began >= left - 2 * QUEUE_MARGIN
        assert caught.value.shed
        assert heard == [Rejection(NAME, "section", ErrorCode.DEADLINE_EXCEEDED, "deadline")]
        first.cancel()

    run(main())


@pytest.mark.parametrize("error", [UpstreamTimeout("late"), ZeroDivisionError()])
def test_failures_give_the_permit_back(error: Exception) -> None:
    async def main() -> None:
        call = limited(FakeUpstream((0, error)), concurrency=1, queue=0)
        for _ in range(3):
            with pytest.raises(type(error)):
                await call(request())

    run(main())


def test_a_hanging_upstream_takes_its_own_permits_only() -> None:
    async def main() -> None:
        hanging = limited(FakeUpstream((60, None)), concurrency=2)
        healthy = limited(FakeUpstream((0.01, None)), concurrency=2)
        stuck = [start(hanging) for _ in range(2)]
        await asyncio.sleep(0)
        began = loop_time()
        await healthy(request())
        assert loop_time() - began == pytest.approx(0.01)
        for task in stuck:
            task.cancel()

    run(main())


def test_one_cancelled_while_waiting_leaves_the_queue() -> None:
    async def main() -> None:
        permits = Permits(1, loop_time)
        permits.in_flight = 1
        waiting = await blocked(permits)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert permits.waiting == 0
        permits.release()
        assert permits.in_flight == 0

    run(main())


def test_one_cancelled_in_the_moment_of_the_grant_passes_it_on() -> None:
    async def main() -> None:
        permits = Permits(1, loop_time)
        permits.in_flight = 1
        granted, next_one = await blocked(permits), await blocked(permits)
        permits.release()
        granted.cancel()
        assert await next_one
        assert granted.cancelled()
        assert permits.in_flight == 1

    run(main())


def test_a_permit_is_not_given_to_one_already_cancelled() -> None:
    async def main() -> None:
        permits = Permits(1, loop_time)
        permits.in_flight = 1
        gone, next_one = await blocked(permits), await blocked(permits)
        gone.cancel()
        permits.release()
        assert await next_one
        assert permits.in_flight == 1

    run(main())


def test_one_cancelled_in_the_moment_its_patience_ends_holds_nothing() -> None:
    async def main() -> None:
        permits = Permits(1, loop_time)
        permits.in_flight = 1
        waiting = await blocked(permits)
        permits._queue.oldest().ring()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert (permits.in_flight, permits.waiting) == (1, 0)

    run(main())


def test_patience_that_ends_in_the_moment_of_the_grant_changes_nothing() -> None:
    async def main() -> None:
        permits = Permits(1, loop_time)
        permits.in_flight = 1
        waiting = await blocked(permits)
        waiter = permits._queue.oldest()
        permits.release()
        waiter.ring()
        assert await waiting

    run(main())


@pytest.mark.no_cover
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9), limit=st.integers(1, 4), callers=st.integers(1, 40))
def test_permits_are_conserved_under_random_cancellation(
    seed: int, limit: int, callers: int
) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        upstream = FakeUpstream(*[(rng.choice([0, 0.01, 0.05]), None) for _ in range(200)])
        call = limited(upstream, concurrency=limit, queue=10, queue_timeout=0.05)
        tasks = []
        for _ in range(callers):
            tasks.append(start(call, rng.choice([0.02, 1])))
            if rng.random() < 0.4:
                rng.choice(tasks).cancel()
            if rng.random() < 0.5:
                await asyncio.sleep(rng.choice([0, 0.01, 0.03]))
            if rng.random() < 0.4:
                rng.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert upstream.peak <= limit
        # All permits are back: so many can run at once again, and no more.
        upstream.turns = ((0.04, None),)
        upstream.peak = 0
        await asyncio.gather(*[call(request()) for _ in range(limit + 1)])
        assert upstream.peak == limit

    run(main())


@pytest.mark.no_cover
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9), callers=st.integers(1, 40))
def test_permits_are_conserved_while_their_number_changes(seed: int, callers: int) -> None:
    async def main() -> None:
        rng = random.Random(seed)
        permits = Permits(3, loop_time)
        holders = 0

        async def hold() -> None:
            nonlocal holders
            if permits.in_flight < permits.limit:
                permits.in_flight += 1
            elif not await waited(permits, rng.choice([0, 0.01, 0.1])):
                return
            holders += 1
            assert holders <= 5
            try:
                await asyncio.sleep(rng.choice([0, 0.01, 0.05]))
            finally:
                holders -= 1
                permits.release()

        tasks = []
        for _ in range(callers):
            tasks.append(asyncio.create_task(hold()))
            for step in rng.sample(["resize", "cancel", "sleep", "sleep"], 2):
                if step == "resize":
                    permits.resize(rng.randint(1, 5))
                elif step == "cancel":
                    rng.choice(tasks).cancel()
                else:
                    await asyncio.sleep(rng.choice([0, 0.005, 0.02]))
            assert not permits.waiting or permits.in_flight >= permits.limit
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)
        assert (holders, permits.in_flight, permits.waiting) == (0, 0, 0)

    run(main())


async def answered_in_time(call: Call, *, every: float, deadline: float, count: int) -> int:
    """Send `count` calls at a regular pace; return how many were answered."""
    calls = []
    for _ in range(count):
        calls.append(start(call, deadline))
        await asyncio.sleep(every)
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    return sum(not isinstance(outcome, BaseException) for outcome in outcomes)


class Wasting:
    """An upstream that works on what it was given, although no one waits for it any more."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.in_time = self.late = 0

    async def __call__(self, request: Any) -> Any:
        await asyncio.sleep(self.seconds)
        if loop_time() > request.deadline.at:
            self.late += 1
            raise UpstreamTimeout("late")
        self.in_time += 1
        return {}


@pytest.mark.parametrize("times", [3, 10])
def test_overload_does_not_lower_what_is_answered_in_time(times: int) -> None:
    async def main() -> None:
        upstream = Wasting(0.05)
        call = limited(upstream, concurrency=2, queue=10_000, queue_timeout=60)
        await answered_in_time(call, every=0.025 / times, deadline=0.3, count=400 * times)
        capacity = 400 * 0.025 / 0.05 * 2
        assert upstream.in_time >= 0.95 * capacity
        assert upstream.late <= 0.02 * capacity

    run(main())


def test_first_in_first_out_would_serve_everyone_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same overload without the mechanisms: the test above depends on them."""
    monkeypatch.setattr(AdaptiveLifo, "overloaded", lambda *_: False)
    monkeypatch.setattr("gateway.layers.concurrency.QUEUE_MARGIN", 0.0)
    monkeypatch.setattr("gateway.layers.concurrency._LEARNING", 0.0)

    async def main() -> None:
        upstream = Wasting(0.05)
        call = limited(upstream, concurrency=2, queue=10_000, queue_timeout=60)
        await answered_in_time(call, every=0.025 / 3, deadline=0.3, count=1200)
        assert upstream.in_time <= 0.1 * 400

    run(main())


def test_the_newest_goes_first_while_the_oldest_has_waited_half_of_its_time() -> None:
    async def main() -> None:
        upstream = FakeUpstream((1, None))
        call = limited(upstream, concurrency=1, queue_timeout=60)
        calls = [asyncio.ensure_future(call(request(3.5, target=f"/{n}"))) for n in range(4)]
        await asyncio.sleep(1.5)
        calls.append(asyncio.ensure_future(call(request(3.5, target="/new"))))
        await asyncio.gather(*calls, return_exceptions=True)
        assert [target_of(r) for r in upstream.requests][:3] == ["/0", "/1", "/new"]

    run(main())


def test_a_full_queue_drops_its_oldest_while_it_is_overloaded() -> None:
    async def main() -> None:
        upstream = FakeUpstream((3, None))
        call = limited(upstream, concurrency=1, queue=2, queue_timeout=4)
        first, oldest, second = start(call), start(call), start(call)
        await asyncio.sleep(2.5)
        newest = start(call)
        with pytest.raises(LimiterFull) as caught:
            await oldest
        assert caught.value.shed
        assert loop_time() - upstream.started[0] == about(2.5)
        await newest
        assert upstream.calls == 2
        await first
        with pytest.raises(LimiterFull):
            await second

    run(main())


def test_no_permit_goes_to_a_call_with_less_time_than_a_call_takes() -> None:
    async def main() -> None:
        upstream = FakeUpstream((1, None))
        call = limited(upstream, concurrency=1, queue_timeout=60)
        await asyncio.gather(*[start(call) for _ in range(40)])  # it learns what a call takes
        before = upstream.calls
        first = start(call)
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded) as caught:
            await call(request(1.5))
        assert caught.value.shed
        await first
        assert upstream.calls == before + 1

    run(main())


class Serving:
    """An upstream that serves so many at once and lets the others wait."""

    def __init__(self, capacity: int, seconds: float) -> None:
        self.places = asyncio.Semaphore(capacity)
        self.seconds = seconds
        self.served = 0
        self.queued = 0
        self.longest_queue = 0

    async def __call__(self, request: Any) -> Any:
        self.queued += 1
        self.longest_queue = max(self.longest_queue, self.queued)
        try:
            async with self.places:
                await asyncio.sleep(self.seconds)
                self.served += 1
        finally:
            self.queued -= 1


@pytest.mark.no_cover
@pytest.mark.parametrize("capacity", [5, 40])
def test_adaptive_finds_what_the_upstream_serves(capacity: int) -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = Serving(capacity, 0.05)
        call = limited(upstream, Events([heard.append]), concurrency="adaptive", queue=10_000,
                       queue_timeout=60)  # fmt: skip
        until = loop_time() + 60

        async def keep_asking() -> None:
            while loop_time() < until:
                await call(request(100))

        async def settle() -> None:
            await asyncio.sleep(45)
            upstream.served = upstream.longest_queue = 0

        await asyncio.gather(settle(), *[keep_asking() for _ in range(300)])
        assert upstream.served >= 0.95 * capacity / 0.05 * 15
        assert upstream.longest_queue <= 2.5 * capacity
        changes = [event for event in heard if isinstance(event, LimitChange)]
        assert changes
        assert changes[0].before == 20

    run(main())


@pytest.mark.parametrize("error", [UpstreamTimeout("late"), UpstreamStatus("no", status=429)])
def test_adaptive_shrinks_when_calls_are_dropped(error: Exception) -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream((0.05, error))
        call = limited(upstream, Events([heard.append]), concurrency="adaptive")
        for _ in range(60):
            with contextlib.suppress(LimiterFull):
                await asyncio.gather(*[call(request()) for _ in range(15)], return_exceptions=True)
        last = heard[-1]
        assert isinstance(last, LimitChange)
        assert last.after < 5

    run(main())


def test_adaptive_learns_nothing_from_other_failures() -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream((0.05, UpstreamStatus("no", status=404)))
        call = limited(upstream, Events([heard.append]), concurrency="adaptive")
        for _ in range(100):
            with pytest.raises(UpstreamStatus):
                await call(request())
        assert heard == []

    run(main())


def test_a_call_whose_wait_ends_takes_a_permit_that_is_free_by_then() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.001, None))
        call: Any = limited(upstream, concurrency=1, queue_timeout=50)
        (gate,) = call.gates
        permits = gate._permits
        permits.in_flight = 1
        waiting = request(10)
        asked = asyncio.ensure_future(call(waiting))
        await asyncio.sleep(0)
        waiting.deadline.at += 30  # a caller with more time has joined the flight
        await asyncio.sleep(9.985)
        permits._queue.oldest().ring()
        permits.release()  # no one waits at this moment
        await asyncio.sleep(0.01)
        assert asked.done()
        assert (permits.in_flight, permits.waiting) == (0, 0)

    run(main())
