"""Hedge: ask once more when the answer is unusually late, and take whichever comes first.

Dean and Barroso, "The Tail at Scale", 2013: a second request after the 95th percentile costs some 5 %
more calls and cuts the tail off.

The first request runs in the caller's own task. A timer starts the second one; nearly always the
answer is there before, and then hedging has cost a timer and no task.
"""

from __future__ import annotations

from asyncio import CancelledError, Task, current_task, get_running_loop, wait
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from gateway.errors import CallError
from gateway.events import Hedge
from gateway.layers.budget import Budget, BudgetPolicy
from gateway.policy import Policy
from gateway.units import Positive

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["HedgePolicy", "Latency", "hedge"]

_SAFE = frozenset({"GET", "HEAD"})


class HedgePolicy(Policy):
    """When a second request is started beside a slow first one."""

    after: Positive | Literal["p95"] = "p95"
    """How long the first one may take: a time, or the upstream's own 95th percentile."""

    ratio: float = Field(default=0.05, gt=0, le=1)
    """Second requests as a share of the calls, at most."""


class Latency:
    """The 95th percentile of the last durations, looked up now and then.

    It says nothing before the window is full.
    """

    __slots__ = ("_durations", "_next", "p95")

    WINDOW = 256
    EVERY = 32

    def __init__(self) -> None:
        self._durations: list[float] = []
        self._next = 0
        self.p95: float | None = None

    def add(self, seconds: float) -> None:
        """Take in the duration of a call."""
        if len(self._durations) < self.WINDOW:
            self._durations.append(seconds)
        else:
            self._durations[self._next] = seconds
        self._next = (self._next + 1) % self.WINDOW
        if self._next % self.EVERY == 0 and len(self._durations) == self.WINDOW:
            self.p95 = sorted(self._durations)[self.WINDOW * 95 // 100]


class _Race:
    """A first request in the caller's task and, once it is late, a second one beside it."""

    __slots__ = ("_before", "_first", "_start", "second", "won")

    def __init__(self, start: Callable[[], Task[Response] | None]) -> None:
        task = current_task()
        if task is None:
            raise RuntimeError("a hedge needs a task that it can cancel")
        self._first: Any = task
        self._before = task.cancelling()
        self._start = start
        self.second: Task[Response] | None = None
        self.won = False

    def late(self) -> None:
        """Start the second request; called by the timer."""
        self.second = self._start()
        if self.second is not None:
            self.second.add_done_callback(self._landed)

    def _landed(self, second: Task[Response]) -> None:
        if self._first is not None and not second.cancelled() and second.exception() is None:
            self.won = True
            self._first.cancel()

    def first_ended(self) -> bool:
        """Note that the first request is over; return whether only our own cancellation ended it."""
        first, self._first = self._first, None
        return self.won and first.uncancel() <= self._before

    async def drop_second(self) -> None:
        """Cancel the second request and wait until it is gone."""
        if self.second is not None and not self.second.done():
            self.second.cancel()
            await wait((self.second,))


def hedge(
    policy: HedgePolicy,
    *,
    upstream: str,
    events: Events,
    clock: Clock,
    budget: Budget | None = None,
) -> Layer:
    """Return a layer that starts a second request when the first one is late.

    The first good answer wins and the other request is cancelled and awaited. A failure before the
    second request starts is for `retry` to deal with; after that the other one is waited for.

    Args:
        policy: when, and how often at most.
        upstream: name of the upstream, for events.
        events: where hedges are told.
        clock: monotonic seconds, to learn how long calls take.
        budget: that of the upstream's retries where there is one; a hedge is charged to it too.
    """
    fixed = None if policy.after == "p95" else policy.after
    latency = Latency()
    share = Budget(BudgetPolicy(ratio=policy.ratio, reserve=0), clock)

    def affordable() -> bool:
        if not share.withdraw():
            return False
        if budget is None or budget.withdraw():
            return True
        share.refund()
        return False

    def layer(call: Call) -> Call:
        def again(request: Request, delay: float, loop: AbstractEventLoop) -> Task[Response] | None:
            if not affordable():
                return None
            if events:
                events.emit(Hedge(upstream, request.section, delay))

            async def second() -> Response:
                return await call(request.again(request.attempt + 1))

            return loop.create_task(second())

        async def race(request: Request, delay: float) -> Response:
            loop = get_running_loop()
            contest = _Race(lambda: again(request, delay, loop))
            timer = loop.call_later(delay, contest.late)
            try:
                response = await call(request)
            except CancelledError:
                if contest.first_ended() and contest.second is not None:
                    return contest.second.result()
                raise
            except CallError as failure:
                timer.cancel()
                contest.first_ended()
                if contest.second is None:
                    raise
                try:
                    return await contest.second
                except CallError:
                    raise failure from None
            else:
                contest.first_ended()
                return response
            finally:
                timer.cancel()
                await contest.drop_second()

        async def hedged(request: Request) -> Response:
            if request.method not in _SAFE:
                return await call(request)
            share.deposit()
            if fixed is not None:
                return await race(request, fixed)
            began = clock()
            response = await (call(request) if latency.p95 is None else race(request, latency.p95))
            latency.add(clock() - began)
            return response

        return hedged

    return layer
