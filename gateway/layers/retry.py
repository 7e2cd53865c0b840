"""Retry: repeats failed calls that may succeed a moment later, within deadline and budget.

The first attempt is a plain call. Only after a failure does tenacity take over, with exponential
backoff and full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015).
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
    """What is retried, how often and when."""

    attempts: int = Field(default=3, ge=2, le=10)
    """Total attempts, including the first one."""

    base: Positive = Field(default="50ms", validate_default=True)
    """Longest wait before the second attempt; doubled for each further one."""

    cap: Positive = Field(default="1s", validate_default=True)
    """Longest wait before any attempt, apart from an upstream's Retry-After."""

    statuses: frozenset[int] = REPEATED_STATUSES
    """Statuses that are retried."""

    budget: BudgetPolicy = BudgetPolicy()
    """How many retries and hedges are allowed in total."""


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
        policy: what is retried, how often and when.
        upstream: name of the upstream, for events.
        events: receives retries and rejections because of a spent budget.
        budget: the upstream's budget, shared with its hedges; this layer deposits every call.
        clock: the clock of the deadlines.
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
                    # Checked before tenacity, which costs more than many calls: an upstream that is
                    # down must not take time from the callers of other upstreams.
                    schedule.refuse(request, failure)
                    raise
                first = failure
            again = _Again(call, request, first)
            # One for each call: tenacity stores the state of its loop in this object.
            retrying = AsyncRetrying(
                sleep=sleep,
                wait=schedule.wait,
                stop=schedule.stop,
                retry=retry_if_exception(schedule.worthwhile),
                before_sleep=schedule.emit,
                reraise=True,
            )
            try:
                return await retrying(again.attempt, request)
            except Rejected:
                # The failure says more than the reason why it could not be retried.
                raise again.failure from None

        return retried

    return layer


class _Again:
    """The attempts after the first one, whose failure is raised again for tenacity."""

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
    """The callbacks of tenacity: whether, when and how often to retry."""

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
        """Return whether the same request may succeed a moment later."""
        if isinstance(error, UpstreamStatus):
            return error.status in self._policy.statuses
        return isinstance(error, Failed) and error.retryable

    def wait(self, state: RetryCallState) -> float:
        """Return the seconds before the next attempt."""
        jittered = self._backoff(state) * self._random()
        requested = _failure(state).retry_after
        # Jitter on top of Retry-After: otherwise all callers that got "2 s" return at once.
        return jittered if requested is None else requested + jittered

    def stop(self, state: RetryCallState) -> bool:
        """Return whether to stop retrying."""
        request: Request = state.args[0]
        if state.attempt_number >= self._policy.attempts:
            return True
        if state.upcoming_sleep >= request.deadline.at - self._clock():
            return True
        # Last, so that the budget is charged only if nothing else forbids the retry.
        if self._budget.withdraw():
            return False
        self.refuse(request, _failure(state))
        return True

    def refuse(self, request: Request, failure: Failed) -> None:
        """Emit that the budget is spent."""
        if self._events.wants(Rejection):
            why = "retry_budget"
            self._events.emit(Rejection(self._upstream, request.section, failure.code, why))

    def emit(self, state: RetryCallState) -> None:
        """Emit that another attempt follows."""
        if self._events.wants(Retry):
            section, number = state.args[0].section, state.attempt_number + 1
            delay, code = state.upcoming_sleep, _failure(state).code
            self._events.emit(Retry(self._upstream, section, number, delay, code))


def _failure(state: RetryCallState) -> Failed:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, Failed):  # pragma: no cover - tenacity calls it after failures only
        raise TypeError(error)
    return error
