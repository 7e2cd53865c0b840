"""Retry: repeat what may well succeed a moment later, within deadline and budget.

The first attempt is made without ceremony. Only after a failure does tenacity come in, with the
schedule: exponential backoff, full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from tenacity import AsyncRetrying, retry_if_exception, wait_exponential

from gateway.errors import REPEATED_STATUSES, Failed, Rejected, UpstreamStatus
from gateway.events import Rejection, Retry
from gateway.layers.budget import BudgetPolicy
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState

    from gateway.call import Call, Clock, Layer, Request, Response, Sleep
    from gateway.events import Events
    from gateway.layers.budget import Budget

__all__ = ["RetryPolicy", "retry"]


class RetryPolicy(Policy):
    """What is repeated, how often and when."""

    attempts: int = Field(default=3, ge=2, le=10)
    """Attempts in all, the first one included."""

    base: Positive = Field(default="50ms", validate_default=True)
    """The longest wait before the second attempt; doubled for each further one."""

    cap: Positive = Field(default="1s", validate_default=True)
    """The longest wait before any attempt, what an upstream asks for by Retry-After aside."""

    statuses: frozenset[int] = REPEATED_STATUSES
    """Statuses that are worth another attempt."""

    budget: BudgetPolicy = BudgetPolicy()
    """How many retries and hedges the upstream is worth altogether."""


def retry(
    policy: RetryPolicy,
    *,
    upstream: str,
    events: Events,
    budget: Budget,
    clock: Clock,
    sleep: Sleep,
    random: Callable[[], float],
) -> Layer:
    """Return a layer that repeats failed attempts.

    When it gives up it raises the upstream's last failure, never an error of its own.

    Args:
        policy: what is repeated, how often and when.
        upstream: name of the upstream, for events.
        events: where retries and exhausted budgets are told.
        budget: of the upstream, shared with its hedges; every call is paid in here.
        clock: that of the deadlines.
        sleep: waits between attempts.
        random: uniform in [0, 1).
    """
    schedule = _Schedule(policy, upstream, events, budget, clock, random)

    def layer(call: Call) -> Call:
        async def retried(request: Request) -> Response:
            budget.deposit()
            try:
                return await call(request)
            except Failed as failure:
                if not request.safe or not schedule.worthwhile(failure):
                    raise
                if budget.is_spent():
                    # Asked here already: to enter tenacity costs more than many a call, and an
                    # upstream that is down has no time to spare of the callers of others.
                    schedule.refuse(request, failure)
                    raise
                first = failure
            again = _Again(call, request, first)
            # One for each call: tenacity keeps the state of its loop in this object.
            retrying = AsyncRetrying(
                sleep=sleep,
                wait=schedule.wait,
                stop=schedule.stop,
                retry=retry_if_exception(schedule.worthwhile),
                before_sleep=schedule.tell,
                reraise=True,
            )
            try:
                return await retrying(again.attempt, request)
            except Rejected:
                # What went wrong says more than why it could not be repeated.
                raise again.failure from None

        return retried

    return layer


class _Again:
    """The attempts after the first one, which is only raised again for tenacity to see."""

    __slots__ = ("_call", "_number", "_request", "failure")

    def __init__(self, call: Call, request: Request, failure: Failed) -> None:
        self._call = call
        self._request = request
        self.failure = failure
        self._number = 0

    async def attempt(self, _: Request) -> Response:
        self._number += 1
        if self._number == 1:
            raise self.failure
        try:
            return await self._call(self._request.again(self._number))
        except Failed as failure:
            self.failure = failure
            raise


class _Schedule:
    """What tenacity asks after each failure."""

    __slots__ = ("_backoff", "_budget", "_clock", "_events", "_policy", "_random", "_upstream")

    def __init__(
        self,
        policy: RetryPolicy,
        upstream: str,
        events: Events,
        budget: Budget,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._upstream = upstream
        self._events = events
        self._budget = budget
        self._clock = clock
        self._random = random
        self._backoff = wait_exponential(multiplier=policy.base, max=policy.cap)

    def worthwhile(self, error: BaseException) -> bool:
        """Return whether the same request may well succeed a moment later."""
        if isinstance(error, UpstreamStatus):
            return error.status in self._policy.statuses
        return isinstance(error, Failed) and error.retryable

    def wait(self, state: RetryCallState) -> float:
        """Return the seconds before the next attempt."""
        jittered = self._backoff(state) * self._random()
        asked = _failure(state).retry_after
        # Jitter on top of what was asked for: all who were told "in 2 s" would come back at once.
        return jittered if asked is None else asked + jittered

    def stop(self, state: RetryCallState) -> bool:
        """Return whether there must be no further attempt."""
        request: Request = state.args[0]
        if state.attempt_number >= self._policy.attempts:
            return True
        if state.upcoming_sleep >= request.deadline.at - self._clock():
            return True
        # Last, so that the budget is charged only for what nothing else forbids.
        if self._budget.withdraw():
            return False
        self.refuse(request, _failure(state))
        return True

    def refuse(self, request: Request, failure: Failed) -> None:
        """Tell that the budget is spent."""
        if self._events.wants(Rejection):
            why = "retry_budget"
            self._events.emit(Rejection(self._upstream, request.section, failure.code, why))

    def tell(self, state: RetryCallState) -> None:
        """Tell that there will be another attempt."""
        if self._events.wants(Retry):
            section, number = state.args[0].section, state.attempt_number + 1
            delay, code = state.upcoming_sleep, _failure(state).code
            self._events.emit(Retry(self._upstream, section, number, delay, code))


def _failure(state: RetryCallState) -> Failed:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, Failed):  # pragma: no cover - tenacity asks after failures only
        raise TypeError(error)
    return error
