"""Retry: repeats failed calls that may succeed a moment later, within deadline and budget.

The first attempt is a plain call. After a failure a plain loop asks tenacity's strategies how long
to wait and when to stop: exponential backoff with full jitter (Brooker, "Exponential Backoff And
Jitter", AWS 2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from tenacity import AsyncRetrying, RetryCallState, stop_after_attempt, wait_exponential

from gateway.errors import REPEATED_STATUSES, Failed, Rejected, UpstreamStatus
from gateway.events import Rejection, Retry
from gateway.layers.budget import BudgetPolicy
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from gateway.call import Call, Layer, Request, Response, Sleep
    from gateway.layers.budget import Budget
    from gateway.layers.context import LayerContext

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


def retry(policy: RetryPolicy, context: LayerContext, budget: Budget) -> Layer:
    """Return a layer that repeats failed attempts.

    When it gives up it raises the upstream's last failure, never an error of its own.

    Args:
        policy: what is retried, how often and when.
        context: its events receive retries, and rejections because of a spent budget.
        budget: the upstream's budget, shared with its hedges; this layer deposits every call.
    """
    schedule = _Schedule(policy, context, budget)

    def layer(call: Call) -> Call:
        return _retried(call, schedule, budget, context.sleep)

    return layer


def _retried(call: Call, schedule: _Schedule, budget: Budget, sleep: Sleep) -> Call:
    async def retried(request: Request) -> Response:
        budget.deposit()
        try:
            return await call(request)
        except Failed as error:
            if not request.safe or not schedule.worthwhile(error):
                raise
            if budget.is_spent():
                # Checked first: an upstream that is down must not take time from other callers.
                schedule.refuse(request, error)
                raise
            failure = error
        attempts = schedule.begin()
        try:
            while schedule.goes_on(attempts, request, failure):
                await sleep(attempts.upcoming_sleep)
                attempts.prepare_for_next_attempt()
                try:
                    return await call(request.again(attempts.attempt_number))
                except Rejected:
                    break  # the failure says more than the reason why it could not be retried
                except Failed as error:
                    failure = error
            raise failure
        finally:
            del failure  # its traceback refers to this frame: that would be a cycle

    return retried


class _Schedule:
    """Whether, when and how often to retry."""

    __slots__ = ("_budget", "_context", "_policy", "_retrying")

    def __init__(self, policy: RetryPolicy, context: LayerContext, budget: Budget) -> None:
        self._policy = policy
        self._context = context
        self._budget = budget
        self._retrying = AsyncRetrying(
            wait=wait_exponential(multiplier=policy.base, max=policy.cap),
            stop=stop_after_attempt(policy.attempts),
        )

    def worthwhile(self, error: Failed) -> bool:
        """Return whether the same request may succeed a moment later."""
        if isinstance(error, UpstreamStatus):
            return error.status in self._policy.statuses
        return error.retryable

    def begin(self) -> RetryCallState:
        """Return the state of a call whose first attempt has been made."""
        return RetryCallState(self._retrying, None, (), {})

    def goes_on(self, attempts: RetryCallState, request: Request, failure: Failed) -> bool:
        """Return whether another attempt follows, after `attempts.upcoming_sleep` seconds."""
        if not self.worthwhile(failure) or self._retrying.stop(attempts):
            return False
        delay = self._retrying.wait(attempts) * self._context.random()
        if failure.retry_after is not None:
            # Jitter on top of Retry-After: otherwise all callers that got "2 s" return at once.
            delay += failure.retry_after
        if delay >= request.deadline.at - self._context.clock():
            return False
        # Last, so that the budget is charged only if nothing else forbids the retry.
        if not self._budget.withdraw():
            self.refuse(request, failure)
            return False
        attempts.upcoming_sleep = delay
        upstream, events = self._context.upstream, self._context.events
        if events.wants(Retry):
            number = attempts.attempt_number + 1
            events.emit(Retry(upstream, request.section, number, delay, failure.code))
        return True

    def refuse(self, request: Request, failure: Failed) -> None:
        """Emit that the budget is spent."""
        upstream, events = self._context.upstream, self._context.events
        if events.wants(Rejection):
            events.emit(Rejection(upstream, request.section, failure.code, "retry_budget"))
