"""Concurrency limit: bounds the calls in flight to an upstream, with a short queue in front.

An upstream that hangs uses up only its own permits (the bulkhead of Nygard, "Release It!"). The
queue is bounded in length and time, because the result of a call that waited too long is useless.
While it is overloaded, permits go to those that can still meet their deadline: the newest first,
and a full queue drops its oldest waiter. No permit goes to a call that has too little time left.
"""

from __future__ import annotations

import time
from asyncio import CancelledError, Future
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gateway.aio.adaptive_lifo import AdaptiveLifo
from gateway.aio.deadlines import QUEUE_MARGIN
from gateway.aio.timers import Alarm, Wheel
from gateway.errors import DeadlineExceeded, ErrorCode, Failed, LimiterFull, UpstreamTimeout
from gateway.events import LimitChange, Rejection
from gateway.layers.gradient import Gradient, Window
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.layers.context import LayerContext

__all__ = ["ConcurrencyPolicy", "Permits", "concurrency"]

_LEARNING = 0.1  # weight of the latest call in the usual duration of one


class ConcurrencyPolicy(Policy):
    """How many calls may be in flight and how many may wait: keys of the upstream itself."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] | Literal["adaptive"] = 64
    """Maximum number of calls in flight; `adaptive` derives the limit from latency."""

    queue: Annotated[int, Field(ge=0, le=100_000)] = 256
    """Maximum number of calls that wait for a free place; further calls are refused at once."""

    queue_timeout: Positive = 1.0
    """Longest time a call waits for a free place."""


class Permits:
    """A semaphore: permits, and a queue of waiters.

    No call waits while a permit is free, so a caller that sees `in_flight < limit` may take one by
    incrementing `in_flight`. `release` gives each permit back.

    Args:
        limit: the number of permits.
        clock: monotonic seconds.

    Attributes:
        limit: the number of permits.
        in_flight: the number of permits taken.
    """

    __slots__ = ("_clock", "_queue", "_wheel", "in_flight", "limit")

    def __init__(self, limit: int, clock: Clock = time.monotonic) -> None:
        self.limit = limit
        self.in_flight = 0
        self._clock = clock
        self._queue: AdaptiveLifo[_Waiter] = AdaptiveLifo()
        self._wheel = Wheel()

    @property
    def waiting(self) -> int:
        """The number of waiters."""
        return len(self._queue)

    def resize(self, limit: int) -> None:
        """Change the number of permits; those taken beyond the limit stay valid until released."""
        self.limit = limit
        self._hand_out()

    def release(self) -> None:
        """Give a permit back; the next waiter gets it."""
        self.in_flight -= 1
        if self._queue:
            self._hand_out()

    def drop_oldest(self) -> bool:
        """End the wait of the oldest waiter if the queue is overloaded; return whether it is."""
        if not self._queue.overloaded(self._clock()):
            return False
        self._queue.oldest().ring()
        return True

    async def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for a permit; return whether one was taken."""
        loop = self._wheel.task().get_loop()
        now = self._clock()
        waiter = _Waiter(loop.create_future(), self._queue, now + seconds)
        self._queue.append(waiter, now, waiter.until)
        self._wheel.set(waiter, seconds)
        granted = waiter.granted
        try:
            return await granted
        except CancelledError:
            if not granted.cancelled() and granted.result():
                self.release()  # granted at the moment of the cancellation: pass it on
            raise
        finally:
            waiter.slot.discard(waiter)
            self._queue.discard(waiter)

    def _hand_out(self) -> None:
        while self._queue and self.in_flight < self.limit:
            now = self._clock()
            waiter = self._queue.take(now)
            if waiter.granted.done():  # a cancelled task may not have left the queue yet
                continue
            if waiter.until < now:  # its timer is late
                waiter.granted.set_result(False)
                continue
            waiter.granted.set_result(True)
            self.in_flight += 1


class _Waiter(Alarm):
    """A call that waits for a permit; its alarm ends the wait."""

    __slots__ = ("_queue", "granted", "until")

    def __init__(self, granted: Future[bool], queue: AdaptiveLifo[_Waiter], until: float) -> None:
        self.granted = granted
        self.until = until
        self._queue = queue

    def ring(self) -> None:
        """End the wait without a permit."""
        self._queue.discard(self)
        if not self.granted.done():
            self.granted.set_result(False)


def concurrency(policy: ConcurrencyPolicy, context: LayerContext) -> Layer:
    """Return a layer that limits the calls in flight.

    It raises `LimiterFull` when the queue is full or the wait is too long, and `DeadlineExceeded`
    when the request's deadline passes in the queue.

    Args:
        policy: how many calls pass and how many wait.
        context: its events receive rejections and changes of an adaptive limit.
    """
    if policy.concurrency != "adaptive":
        permits = Permits(policy.concurrency, context.clock)
        return _fixed(permits, _Queue(policy, permits, context))
    gradient = Gradient()
    permits = Permits(int(gradient.limit), context.clock)
    return _adaptive(permits, _Queue(policy, permits, context), gradient, context)


def _fixed(permits: Permits, queue: _Queue) -> Layer:
    def layer(call: Call) -> Call:
        async def limited(request: Request) -> Response:
            if permits.in_flight < permits.limit:
                permits.in_flight += 1
                began = 0.0
            else:
                began = await queue.pass_through(request)
            try:
                return await call(request)
            finally:
                if began:
                    queue.learn(began)
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
                queue.learn(began)
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

    __slots__ = ("_clock", "_events", "_permits", "_policy", "_upstream", "_usual")

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
        self._usual = 0.0  # seconds that a call takes once it has its permit

    def learn(self, began: float) -> None:
        """Record that a call that got its permit at `began` has ended."""
        self._usual += (self._clock() - began - self._usual) * _LEARNING

    async def pass_through(self, request: Request) -> float:
        """Wait for a permit and take it; return when that was.

        Raises:
            LimiterFull: the queue is full, or the wait was as long as the policy allows.
            DeadlineExceeded: too little of the request's time is left for the call.
        """
        permits = self._permits
        if permits.waiting >= self._policy.queue and not permits.drop_oldest():
            raise self._full(request, "limiter_full")
        now = self._clock()
        patient_until = now + self._policy.queue_timeout
        while True:
            ends = request.deadline.at
            useful_until = ends - min(max(QUEUE_MARGIN, self._usual), max(ends - now, 0.0) / 2)
            until = min(patient_until, useful_until)
            if until > now and await permits.wait(until - now):
                return self._clock()
            now = self._clock()
            if now >= patient_until:
                raise self._full(request, "queue_timeout")
            if now < useful_until:
                raise self._full(request, "limiter_full")  # dropped in favour of a newer one
            if request.deadline.at <= ends:
                break
            # A caller with more time has joined the flight: wait again.
        self._emit(request, ErrorCode.DEADLINE_EXCEEDED, "deadline")
        detail = "the request's deadline passed while it waited in a queue"
        raise DeadlineExceeded(detail, upstream=self._upstream, shed=True)

    def _full(self, request: Request, why: str) -> LimiterFull:
        self._emit(request, ErrorCode.LIMITER_FULL, why)
        return LimiterFull(
            "too many calls to the upstream are in flight",
            upstream=self._upstream,
            retry_after=max(self._policy.queue_timeout, 1.0),
            shed=True,
        )

    def _emit(self, request: Request, code: ErrorCode, why: str) -> None:
        if self._events.wants(Rejection):
            self._events.emit(Rejection(self._upstream, request.section, code, why))
