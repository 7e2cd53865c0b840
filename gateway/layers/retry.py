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
from gateway.layers.passage import Gate
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.call import Call, Request, Response
    from gateway.errors import CallError
    from gateway.layers.budget import Budget
    from gateway.layers.context import LayerContext
    from gateway.layers.passage import Passage

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


def retry(policy: RetryPolicy, context: LayerContext, budget: Budget) -> Gate:
    """Return a layer that repeats failed attempts.

    When it gives up it raises the upstream's last failure, never an error of its own.

    Args:
        policy: what is retried, how often and when.
        context: its events receive retries, and rejections because of a spent budget.
        budget: the upstream's budget, shared with its hedges; this layer deposits every call.
    """
    return _RetryGate(_Schedule(policy, context, budget), context, budget)


class _RetryGate(Gate):
    __slots__ = ("_budget", "_inner", "_schedule", "_sleep")

    _inner: Call

    def __init__(self, schedule: _Schedule, context: LayerContext, budget: Budget) -> None:
        super().__init__(context)
        self._schedule = schedule
        self._budget = budget
        self._sleep = context.sleep

    def bind(self, inner: Call) -> None:
        self._inner = inner

    def admit(self, passage: Passage) -> None:
        self._budget.deposit()

    def failed(self, passage: Passage, error: CallError) -> Awaitable[Response] | None:
        request = passage.request
        if not isinstance(error, Failed) or not request.safe:
            return None
        if not self._schedule.worthwhile(error):
            return None
        if self._budget.is_spent():
            # Checked first: an upstream that is down must not take time from other callers.
            self._schedule.refuse(request, error)
            return None
        attempts = self._schedule.begin()
        if not self._schedule.goes_on(attempts, request, error):
            return None
        return self._repeat(request, error, attempts)

    async def _repeat(
        self, request: Request, failure: Failed, attempts: RetryCallState
    ) -> Response:
        """Return the answer of a later attempt, or raise the last failure."""
        goes_on = True
        try:
            while goes_on:
                await self._sleep(attempts.upcoming_sleep)
                attempts.prepare_for_next_attempt()
                try:
                    return await self._inner(request.again(attempts.attempt_number))
                except Rejected:
                    break  # the failure says more than the reason why it could not be retried
                except Failed as error:
                    failure = error
                goes_on = self._schedule.goes_on(attempts, request, failure)
            raise failure
        finally:
            del failure  # its traceback refers to this frame: that would be a cycle


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
