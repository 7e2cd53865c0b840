"""Hedge: sends a second request when the first one is unusually slow, and uses the first answer.

Dean and Barroso, "The Tail at Scale", 2013: a second request after the 95th percentile costs about
5 % more calls and cuts the tail off.

The first request runs in the caller's own task. A timer starts the second one; nearly always the
answer arrives before, and then hedging has cost a timer and no task.
"""

from __future__ import annotations

from asyncio import CancelledError, Task, current_task, get_running_loop, wait
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from gateway.errors import CallError
from gateway.events import Hedge
from gateway.layers.budget import Budget, BudgetPolicy
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.layers.context import LayerContext

__all__ = ["HedgePolicy", "Latency", "hedge"]


class HedgePolicy(Policy):
    """When a second request is sent in parallel with a slow first one."""

    after: Positive | Literal["p95"] = "p95"
    """How long the first one may take: a time, or the upstream's own 95th percentile."""

    ratio: float = Field(default=0.05, gt=0, le=1)
    """Maximum share of calls with a second request."""


class Latency:
    """The 95th percentile of the latest durations, recomputed at intervals.

    One call in twenty is slower than that, most of them only slightly. If all of these were hedged,
    no share would be left for the very slow calls. So each hedge that is refused for lack of share
    increases the delay by 10 %, and the delay slowly returns to the percentile.

    Attributes:
        p95: seconds, at least a millisecond; `None` before enough calls were measured.
        delay: seconds after which a call is slow; `None` likewise.
    """

    __slots__ = ("_durations", "_next", "_stretch", "delay", "p95")

    WINDOW = 256
    ENOUGH = 64
    EVERY = 32
    LEAST = 0.001
    LONGER = 1.1
    LONGEST = 8.0
    SHORTER = 0.98

    def __init__(self) -> None:
        self._durations: list[float] = []
        self._next = 0
        self._stretch = 1.0
        self.p95: float | None = None
        self.delay: float | None = None

    def refused(self) -> None:
        """Record that a slow call could not be hedged."""
        self._stretch = min(self._stretch * self.LONGER, self.LONGEST)
        if self.p95 is not None:
            self.delay = self.p95 * self._stretch

    def add(self, seconds: float) -> None:
        """Record the duration of a call."""
        if len(self._durations) < self.WINDOW:
            self._durations.append(seconds)
        else:
            self._durations[self._next] = seconds
        self._next = (self._next + 1) % self.WINDOW
        seen = len(self._durations)
        if self._next % self.EVERY == 0 and seen >= self.ENOUGH:
            self.p95 = max(sorted(self._durations)[seen * 95 // 100], self.LEAST)
            self._stretch = max(self._stretch * self.SHORTER, 1.0)
            self.delay = self.p95 * self._stretch


def hedge(policy: HedgePolicy, context: LayerContext, budget: Budget | None = None) -> Layer:
    """Return a layer that starts a second request when the first one is slow.

    The first good answer wins; the other request is cancelled and awaited. A failure before the
    second request has started is left to `retry`; after that the layer waits for the other request.

    Args:
        policy: when to hedge, and how often at most.
        context: its events receive hedges, its clock measures calls.
        budget: the upstream's retry budget, to which a hedge is charged too; `None` where nothing
            is retried. The policy's own ratio always applies.
    """
    share = Budget(BudgetPolicy(ratio=policy.ratio, reserve=0), context.clock)
    hedges = _Hedges(context, share, budget)

    def layer(call: Call) -> Call:
        if policy.after == "p95":
            return _hedged_by_latency(call, hedges, share, context.clock)
        return _hedged_after(policy.after, call, hedges, share)

    return layer


def _hedged_after(delay: float, call: Call, hedges: _Hedges, share: Budget) -> Call:
    async def hedged(request: Request) -> Response:
        if not request.safe:
            return await call(request)
        share.deposit()
        return await _Race(hedges, call, request, delay).run()

    return hedged


def _hedged_by_latency(call: Call, hedges: _Hedges, share: Budget, clock: Clock) -> Call:
    latency = hedges.latency

    async def hedged(request: Request) -> Response:
        if not request.safe:
            return await call(request)
        share.deposit()
        began = clock()
        delay = latency.delay
        if delay is None:
            response = await call(request)
        else:
            response = await _Race(hedges, call, request, delay).run()
        latency.add(clock() - began)
        return response

    return hedged


class _Hedges:
    """Starts second requests, as far as their share of the calls and the budget allow.

    Attributes:
        latency: the latest durations of the calls.
    """

    __slots__ = ("_budget", "_context", "_share", "latency")

    def __init__(self, context: LayerContext, share: Budget, budget: Budget | None) -> None:
        self._context = context
        self._share = share
        self._budget = budget
        self.latency = Latency()

    def start(self, call: Call, request: Request, delay: float) -> Task[Response] | None:
        """Start the second request of a call that is slow after `delay` seconds."""
        if not self._affordable():
            self.latency.refused()
            return None
        upstream, events = self._context.upstream, self._context.events
        if events.wants(Hedge):
            events.emit(Hedge(upstream, request.section, delay))
        return get_running_loop().create_task(_ask(call, request.again(request.attempt + 1)))

    def _affordable(self) -> bool:
        if not self._share.withdraw():
            return False
        if self._budget is None or self._budget.withdraw():
            return True
        self._share.refund()
        return False


async def _ask(call: Call, request: Request) -> Response:
    return await call(request)


class _Race:
    """A first request in the caller's task and, once it is slow, a second one in its own task."""

    __slots__ = ("_before", "_call", "_delay", "_first", "_hedges", "_request", "_second", "_won")

    def __init__(self, hedges: _Hedges, call: Call, request: Request, delay: float) -> None:
        first: Any = current_task()
        self._first = first
        self._before = first.cancelling()
        self._hedges = hedges
        self._call = call
        self._request = request
        self._delay = delay
        self._second: Task[Response] | None = None
        self._won = False

    async def run(self) -> Response:
        """Return the first good answer; raise the first request's failure if there is none."""
        timer = self._first.get_loop().call_later(self._delay, self._late)
        try:
            response = await self._call(self._request)
        except CancelledError:
            if self._first_ended() and self._second is not None:
                return self._second.result()
            raise
        except CallError as failure:
            timer.cancel()
            self._first_ended()
            if self._second is None:
                raise
            try:
                return await self._second
            except CallError:
                raise failure from None
        else:
            self._first_ended()
            return response
        finally:
            timer.cancel()
            if self._second is not None and not self._second.done():
                self._second.cancel()
                await wait((self._second,))

    def _late(self) -> None:
        self._second = self._hedges.start(self._call, self._request, self._delay)
        if self._second is not None:
            self._second.add_done_callback(self._landed)

    def _landed(self, second: Task[Response]) -> None:
        if second.cancelled() or isinstance(second.exception(), CallError):
            return  # it leaves the race to the first request
        if self._first is not None:  # an answer, or a bug that must not be hidden
            self._won = True
            self._first.cancel()

    def _first_ended(self) -> bool:
        """Record that the first request ended; return whether the second one alone cancelled it."""
        first, self._first = self._first, None
        return bool(self._won and first.uncancel() <= self._before)
