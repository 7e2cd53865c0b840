"""Retry: repeat what may well succeed a moment later, within deadline and budget.

The first attempt is made without ceremony. Only after a failure does tenacity come in, with the
schedule: exponential backoff, full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field
from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    wait_exponential,
)

from gateway.errors import Failed, Rejected, UpstreamStatus
from gateway.events import Rejection, Retry
from gateway.layers.budget import BudgetPolicy
from gateway.policy import Policy
from gateway.units import Positive

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenacity import RetryCallState

    from gateway.call import Call, Clock, Layer, Request, Response, Sleep
    from gateway.events import Events
    from gateway.layers.budget import Budget

__all__ = ["RetryPolicy", "retry"]

Idempotent = Literal["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]
"""The idempotent methods of RFC 9110 section 9.2.2: only these can be repeated unasked."""


class RetryPolicy(Policy):
    """What is repeated, how often and when."""

    attempts: int = Field(default=3, ge=2, le=10)
    """Attempts in all, the first one included."""

    base: Positive = Field(default="50ms", validate_default=True)
    """The longest wait before the second attempt; doubled for each further one."""

    cap: Positive = Field(default="1s", validate_default=True)
    """The longest wait before any attempt."""

    statuses: frozenset[int] = frozenset({429, 502, 503, 504})
    """Statuses that are worth another attempt."""

    methods: frozenset[Idempotent] = frozenset({"GET", "HEAD", "OPTIONS"})
    """Methods that are repeated."""

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

    When it gives up it raises the failure at hand, never an error of its own.

    Args:
        policy: what is repeated, how often and when.
        upstream: name of the upstream, for events.
        events: where retries and exhausted budgets are told.
        budget: of the upstream, shared with its hedges.
        clock: that of the deadlines.
        sleep: waits between attempts.
        random: uniform in [0, 1).
    """
    backoff = wait_exponential(multiplier=policy.base, max=policy.cap)

    def worthwhile(error: BaseException) -> bool:
        if isinstance(error, UpstreamStatus):
            return error.status in policy.statuses
        return isinstance(error, Failed) and error.retryable

    def wait(state: RetryCallState) -> float:
        jittered = backoff(state) * random()
        asked = _failure(state).retry_after
        # Jitter on top of what was asked for: all who were told "in 2 s" would come back at once.
        return jittered if asked is None else asked + jittered

    def too_late(state: RetryCallState) -> bool:
        return state.upcoming_sleep >= _request(state).deadline.at - clock()

    def spent(state: RetryCallState) -> bool:
        if budget.withdraw():
            return False
        if events:
            failure, section = _failure(state), _request(state).section
            events.emit(Rejection(upstream, section, failure.code, "retry_budget"))
        return True

    def tell(state: RetryCallState) -> None:
        if events:
            number, delay = state.attempt_number + 1, state.upcoming_sleep
            section = _request(state).section
            events.emit(Retry(upstream, section, number, delay, _failure(state).code))

    retry_condition = retry_if_exception(worthwhile)
    # The budget comes last: it is charged only for what nothing else forbids.
    stop = stop_after_attempt(policy.attempts) | too_late | spent

    async def repeat(call: Call, request: Request, failure: Failed) -> Response:
        number = request.attempt - 1

        async def attempt(_: Request) -> Response:
            nonlocal failure, number
            number += 1
            if number == request.attempt:
                raise failure  # the first attempt, made before tenacity came in
            try:
                return await call(request.again(number))
            except Failed as error:
                failure = error
                raise
            except Rejected:
                raise failure from None  # what went wrong says more than why it was not repeated

        retrying = AsyncRetrying(
            sleep=sleep,
            stop=stop,
            wait=wait,
            retry=retry_condition,
            before_sleep=tell,
            reraise=True,
        )
        return await retrying(attempt, request)

    def layer(call: Call) -> Call:
        async def retried(request: Request) -> Response:
            budget.deposit()
            try:
                return await call(request)
            except Failed as failure:
                if request.method not in policy.methods or not worthwhile(failure):
                    raise
                return await repeat(call, request, failure)

        return retried

    return layer


def _request(state: RetryCallState) -> Request:
    request: Request = state.args[0]
    return request


def _failure(state: RetryCallState) -> Failed:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, Failed):  # pragma: no cover - tenacity asks only about failures
        raise TypeError(error)
    return error
