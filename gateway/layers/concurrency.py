"""Concurrency limit: bounds the calls in flight to an upstream, with a short queue in front.

An upstream that hangs uses up only its own permits (the bulkhead of Nygard, "Release It!"). The
queue is bounded in length and time, because the result of a call that waited too long is useless.
"""

from __future__ import annotations

from asyncio import CancelledError, Future, get_running_loop
from collections import deque
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.errors import DeadlineExceeded, ErrorCode, Failed, LimiterFull, UpstreamTimeout
from gateway.events import LimitChange, Rejection
from gateway.layers.gradient import Gradient, Window
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from gateway.call import Call, Layer, Request, Response
    from gateway.layers.context import LayerContext

__all__ = ["ConcurrencyPolicy", "Permits", "concurrency"]


class ConcurrencyPolicy(Policy):
    """How many calls may be in flight and how many may wait: keys of the upstream itself."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] | Literal["adaptive"] = 64
    """Maximum number of calls in flight; `adaptive` derives the limit from latency."""

    queue: Annotated[int, Field(ge=0, le=100_000)] = 256
    """Maximum number of calls that wait for a free place; further calls are refused at once."""

    queue_timeout: Positive = 1.0
    """Longest time a call waits for a free place."""


class Permits:
    """A semaphore: permits, and a first in, first out queue of waiters.

    No call waits while a permit is free, so a caller that sees `in_flight < limit` may take one by
    incrementing `in_flight`. `release` gives each permit back.

    Attributes:
        limit: the number of permits.
        in_flight: the number of permits taken.
    """

    __slots__ = ("_waiters", "in_flight", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._waiters: deque[Future[bool]] = deque()

    @property
    def waiting(self) -> int:
        """The number of waiters."""
        return len(self._waiters)

    def resize(self, limit: int) -> None:
        """Change the number of permits; those taken beyond the limit stay valid until released."""
        self.limit = limit
        self._hand_out()

    def release(self) -> None:
        """Give a permit back; the first waiter gets it."""
        self.in_flight -= 1
        if self._waiters:
            self._hand_out()

    async def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for a permit; return whether one was taken."""
        loop = get_running_loop()
        waiter: Future[bool] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(seconds, self._expire, waiter)
        try:
            return await waiter
        except CancelledError:
            if not waiter.cancelled() and waiter.result():
                self.release()  # granted at the moment of the cancellation: pass it on
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise
        finally:
            timer.cancel()

    def _hand_out(self) -> None:
        while self._waiters and self.in_flight < self.limit:
            waiter = self._waiters.popleft()
            if not waiter.done():  # a cancelled task may not have left the queue yet
                waiter.set_result(True)
                self.in_flight += 1

    def _expire(self, waiter: Future[bool]) -> None:
        if not waiter.done():
            self._waiters.remove(waiter)
            waiter.set_result(False)


def concurrency(policy: ConcurrencyPolicy, context: LayerContext) -> Layer:
    """Return a layer that limits the calls in flight.

    It raises `LimiterFull` when the queue is full or the wait is too long, and `DeadlineExceeded`
    when the request's deadline passes in the queue.

    Args:
        policy: how many calls pass and how many wait.
        context: its events receive rejections and changes of an adaptive limit.
    """
    if policy.concurrency != "adaptive":
        permits = Permits(policy.concurrency)
        return _fixed(permits, _Queue(policy, permits, context))
    gradient = Gradient()
    permits = Permits(int(gradient.limit))
    return _adaptive(permits, _Queue(policy, permits, context), gradient, context)


def _fixed(permits: Permits, queue: _Queue) -> Layer:
    def layer(call: Call) -> Call:
        async def limited(request: Request) -> Response:
            if permits.in_flight < permits.limit:
                permits.in_flight += 1
            else:
                await queue.pass_through(request)
            try:
                return await call(request)
            finally:
                permits.release()

        return limited

    return layer


def _adaptive(permits: Permits, queue: _Queue, gradient: Gradient, context: LayerContext) -> Layer:
    upstream, events, clock = context.upstream, context.events, context.clock
    window = Window(clock())

    def layer(call: Call) -> Call:
        async def limited(request: Request) -> Response:
            if permits.in_flight < permits.limit:
                permits.in_flight += 1
            else:
                await queue.pass_through(request)
            window.peak = max(window.peak, permits.in_flight)
            began = clock()
            try:
                response = await call(request)
                window.answered(clock() - began)
            except Failed as error:
                if isinstance(error, UpstreamTimeout) or error.overloaded:
                    window.dropped += 1
                raise
            else:
                return response
            finally:
                permits.release()
                now = clock()
                if window.is_over(now):
                    before = permits.limit
                    permits.resize(window.judge(gradient, now))
                    if before != permits.limit and events.wants(LimitChange):
                        change = LimitChange(upstream, request.section, before, permits.limit)
                        events.emit(change)

        return limited

    return layer


class _Queue:
    """Waits for a permit when none is free."""

    __slots__ = ("_clock", "_events", "_permits", "_policy", "_upstream")

    def __init__(
        self,
        policy: ConcurrencyPolicy,
        permits: Permits,
        context: LayerContext,
    ) -> None:
        self._policy = policy
        self._permits = permits
        self._upstream = context.upstream
        self._events = context.events
        self._clock = context.clock

    async def pass_through(self, request: Request) -> None:
        """Wait for a permit and take it, or raise `LimiterFull` or `DeadlineExceeded`."""
        if self._permits.waiting >= self._policy.queue:
            raise self._full(request, "limiter_full")
        patient_until = self._clock() + self._policy.queue_timeout
        while True:
            ends = request.deadline.at
            waits_until = min(patient_until, ends)
            if await self._permits.wait(max(waits_until - self._clock(), 0.0)):
                return
            if patient_until < ends:
                raise self._full(request, "queue_timeout")
            if request.deadline.at <= ends:
                break
            # A caller with more time has joined the flight: wait again.
        self._emit(request, ErrorCode.DEADLINE_EXCEEDED, "deadline")
        detail = "the request's deadline passed while it waited in a queue"
        raise DeadlineExceeded(detail, upstream=self._upstream)

    def _full(self, request: Request, why: str) -> LimiterFull:
        self._emit(request, ErrorCode.LIMITER_FULL, why)
        return LimiterFull(
            "too many calls to the upstream are in flight",
            upstream=self._upstream,
            retry_after=max(self._policy.queue_timeout, 1.0),
        )

    def _emit(self, request: Request, code: ErrorCode, why: str) -> None:
        if self._events.wants(Rejection):
            self._events.emit(Rejection(self._upstream, request.section, code, why))
