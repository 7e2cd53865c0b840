"""Concurrency limit: bounds the calls in flight to an upstream, with a short queue in front.

An upstream that hangs uses up only its own permits (the bulkhead of Nygard, "Release It!"). The
queue is bounded in length and time, because the result of a call that waited too long is useless.
While it is overloaded, permits go to those that can still meet their deadline: the newest first,
and a full queue drops its oldest waiter. No permit goes to a call that has too little time left.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from gateway.aio.adaptive_lifo import AdaptiveLifo
from gateway.aio.deadlines import QUEUE_MARGIN
from gateway.aio.timers import Alarm, Wheel
from gateway.errors import DeadlineExceeded, ErrorCode, Failed, LimiterFull, UpstreamTimeout
from gateway.events import LimitChange, Rejection
from gateway.layers.gradient import Gradient, Window
from gateway.layers.passage import PARKED, Gate
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from gateway.call import Clock, Request, Response
    from gateway.errors import CallError
    from gateway.layers.context import LayerContext
    from gateway.layers.passage import Passage

__all__ = ["ConcurrencyPolicy", "Permits", "Waiter", "concurrency"]

_LEARNING = 0.1  # weight of the latest call in the usual duration of one


class ConcurrencyPolicy(Policy):
    """How many calls may be in flight and how many may wait: keys of the upstream itself."""

    concurrency: Annotated[int, Field(ge=1, le=10_000)] | Literal["adaptive"] = 64
    """Maximum number of calls in flight; `adaptive` derives the limit from latency."""

    queue: Annotated[int, Field(ge=0, le=100_000)] = 256
    """Maximum number of calls that wait for a free place; further calls are refused at once."""

    queue_timeout: Positive = 1.0
    """Longest time a call waits for a free place."""


class Waiter(Alarm):
    """Waits for a permit; its alarm ends the wait.

    Attributes:
        until: monotonic seconds at which the wait ends.
    """

    __slots__ = ("_permits", "until")

    def __init__(self, permits: Permits) -> None:
        self._permits = permits
        self.until = 0.0

    def granted(self) -> None:
        """Take a permit; called once, and then `expired` is not."""
        raise NotImplementedError

    def expired(self) -> None:
        """Go on without a permit: the wait is over, or another one was preferred."""
        raise NotImplementedError

    def ring(self) -> None:
        """End the wait without a permit."""
        self._permits.leave(self)
        self.expired()


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
        self._queue: AdaptiveLifo[Waiter] = AdaptiveLifo()
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

    def park(self, waiter: Waiter, seconds: float) -> AbstractEventLoop:
        """Let `waiter` wait at most `seconds`; return the event loop that calls it."""
        loop: AbstractEventLoop = self._wheel.attach()
        now = self._clock()
        waiter.until = now + seconds
        self._queue.append(waiter, now, waiter.until)
        self._wheel.set(waiter, seconds)
        return loop

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter that no longer wants a permit."""
        waiter.slot.discard(waiter)
        self._queue.discard(waiter)

    def _hand_out(self) -> None:
        while self._queue and self.in_flight < self.limit:
            now = self._clock()
            waiter = self._queue.take(now)
            waiter.slot.discard(waiter)
            if waiter.until < now:  # its alarm is late
                waiter.expired()
            else:
                self.in_flight += 1
                waiter.granted()


def concurrency(policy: ConcurrencyPolicy, context: LayerContext) -> Gate:
    """Return a layer that limits the calls in flight.

    It raises `LimiterFull` when the queue is full or the wait is too long, and `DeadlineExceeded`
    when the request's deadline passes in the queue.

    Args:
        policy: how many calls pass and how many wait.
        context: its events receive rejections and changes of an adaptive limit.
    """
    if policy.concurrency == "adaptive":
        return _AdaptiveGate(policy, Gradient(), context)
    return _FixedGate(policy, policy.concurrency, context)


class _LimitGate(Gate):
    """Takes permits, and lets calls wait for one when none is free."""

    __slots__ = ("_permits", "_policy", "_usual")

    def __init__(self, policy: ConcurrencyPolicy, limit: int, context: LayerContext) -> None:
        super().__init__(context)
        self._permits = permits = Permits(limit, context.clock)
        context.meter.gauges |= {
            "concurrency_in_flight": lambda: permits.in_flight,
            "concurrency_queued": lambda: permits.waiting,
            "concurrency_limit": lambda: permits.limit,
        }
        self._policy = policy
        self._usual = 0.0  # seconds that a call takes once it has its permit

    def begun(self, passage: Passage) -> None:
        """Note that a call has got its permit after a wait."""
        passage.permitted_at = self.clock()

    def park(self, passage: Passage) -> object:
        """Let a call wait for a permit.

        Raises:
            LimiterFull: the queue is full, or the wait was as long as the policy allows.
            DeadlineExceeded: too little of the request's time is left for the call.
        """
        permits = self._permits
        if permits.waiting >= self._policy.queue and not permits.drop_oldest():
            raise self.full(passage.request, "limiter_full")
        now = self.clock()
        waiter = _Parked(self, permits, passage, now + self._policy.queue_timeout)
        error = waiter.park(now)
        if error is not None:
            raise error
        return PARKED

    def useful_for(self, left: float) -> float:
        """Return how much of the seconds `left` a call may wait so that it can still succeed."""
        return left - min(max(QUEUE_MARGIN, self._usual), max(left, 0.0) / 2)

    def full(self, request: Request, why: str) -> LimiterFull:
        """Return the error of a call that gets no permit."""
        self._reject(request, ErrorCode.LIMITER_FULL, why)
        return LimiterFull(
            "too many calls to the upstream are in flight",
            upstream=self.upstream,
            retry_after=max(self._policy.queue_timeout, 1.0),
            shed=True,
        )

    def late(self, request: Request) -> DeadlineExceeded:
        """Return the error of a call that waited until too little time was left."""
        self._reject(request, ErrorCode.DEADLINE_EXCEEDED, "deadline")
        detail = "the request's deadline passed while it waited in a queue"
        return DeadlineExceeded(detail, upstream=self.upstream, shed=True)

    def _learn(self, passage: Passage) -> None:
        """Record how long a call had its permit."""
        self._usual += (self.clock() - passage.permitted_at - self._usual) * _LEARNING

    def _reject(self, request: Request, code: ErrorCode, why: str) -> None:
        if self.events.wants(Rejection):
            self.events.emit(Rejection(self.upstream, request.section, code, why))


class _FixedGate(_LimitGate):
    """A fixed number of permits. Only calls that had to wait are timed."""

    __slots__ = ()

    def admit(self, passage: Passage) -> object:
        permits = self._permits
        if permits.in_flight >= permits.limit:
            return self.park(passage)
        permits.in_flight += 1
        passage.permitted_at = 0.0
        return None

    def settled(self, passage: Passage, _: object) -> None:
        """Give the permit back, however the call ended."""
        if passage.permitted_at:
            self._learn(passage)
        self._permits.release()

    succeeded = failed = abandoned = settled


class _AdaptiveGate(_LimitGate):
    """Permits whose number follows the response times."""

    __slots__ = ("_gradient", "_window")

    def __init__(
        self, policy: ConcurrencyPolicy, gradient: Gradient, context: LayerContext
    ) -> None:
        super().__init__(policy, int(gradient.limit), context)
        self._gradient = gradient
        self._window = Window(context.clock())

    def admit(self, passage: Passage) -> object:
        permits = self._permits
        if permits.in_flight >= permits.limit:
            return self.park(passage)
        permits.in_flight += 1
        self.begun(passage)
        return None

    def begun(self, passage: Passage) -> None:
        super().begun(passage)
        self._window.peak = max(self._window.peak, self._permits.in_flight)

    def succeeded(self, passage: Passage, response: Response) -> None:
        self._window.answered(self.clock() - passage.permitted_at)
        self._ended(passage)

    def failed(self, passage: Passage, error: CallError) -> None:
        overloaded = isinstance(error, Failed) and error.overloaded
        if overloaded or isinstance(error, UpstreamTimeout):
            self._window.dropped += 1
        self._ended(passage)

    def abandoned(self, passage: Passage, bug: BaseException | None) -> None:
        self._ended(passage)

    def _ended(self, passage: Passage) -> None:
        permits, window = self._permits, self._window
        self._learn(passage)
        permits.release()
        now = self.clock()
        if not window.is_over(now):
            return
        before = permits.limit
        permits.resize(window.judge(self._gradient, now))
        if before != permits.limit and self.events.wants(LimitChange):
            section = passage.request.section
            self.events.emit(LimitChange(self.upstream, section, before, permits.limit))


class _Parked(Waiter):
    """A call that waits for a permit."""

    __slots__ = ("_ends", "_gate", "_gone", "_has_permit", "_loop", "_passage", "_patient_until",
                 "_useful_until")  # fmt: skip

    _loop: Any

    def __init__(
        self, gate: _LimitGate, permits: Permits, passage: Passage, patient_until: float
    ) -> None:
        super().__init__(permits)
        self._gate = gate
        self._passage = passage
        self._patient_until = patient_until
        self._has_permit = self._gone = False

    def park(self, now: float) -> CallError | None:
        """Wait from `now` on; return an error if there is no time to wait."""
        self._ends = self._passage.request.deadline.at
        self._useful_until = now + self._gate.useful_for(self._ends - now)
        until = min(self._patient_until, self._useful_until)
        if until <= now:
            return self._error(now)
        self._passage.running = self
        self._loop = self._permits.park(self, until - now)
        return None

    # A permit may be granted, or the wait end, while another call ends; that one goes first.

    def granted(self) -> None:
        self._has_permit = True
        self._loop.call_soon(self._go_on)

    def expired(self) -> None:
        self._loop.call_soon(self._end)

    def cancel(self) -> None:
        """Leave the queue, or give back a permit that was granted and not used yet."""
        self._gone = True
        if self._has_permit:
            self._permits.release()
        else:
            self._permits.leave(self)

    def _go_on(self) -> None:
        if not self._gone:
            self._gate.begun(self._passage)
            self._passage.resume(self._gate)

    def _end(self) -> None:
        if self._gone or self._has_permit:
            return
        now = self._gate.clock()
        error = self._error(now)
        if error is None:  # a caller with more time has joined the flight
            permits = self._permits
            if permits.in_flight < permits.limit:
                permits.in_flight += 1
                self._has_permit = True
                self._go_on()
                return
            error = self.park(now)
        if error is not None:
            self._passage.refuse(self._gate, error)

    def _error(self, now: float) -> CallError | None:
        request = self._passage.request
        if now >= self._patient_until:
            return self._gate.full(request, "queue_timeout")
        if now < self._useful_until:  # dropped in favour of a newer one
            return self._gate.full(request, "limiter_full")
        if request.deadline.at <= self._ends:
            return self._gate.late(request)
        return None
