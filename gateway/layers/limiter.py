"""Limiter: a bound on the calls in flight, with a short queue in front.

An upstream that hangs takes its own permits and nobody else's (the bulkhead of Nygard, "Release
It!"). Waiting is bounded in number and time, because work that waited too long is of no use to
anyone when it is done.
"""

from __future__ import annotations

from asyncio import CancelledError, Future, get_running_loop
from collections import deque
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from gateway.errors import CallError, DeadlineExceeded, ErrorCode, LimiterFull, UpstreamTimeout
from gateway.events import LimitChange, Rejection
from gateway.layers.gradient import Gradient
from gateway.policy import Policy
from gateway.units import Duration

if TYPE_CHECKING:
    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["Limiter", "LimiterPolicy", "limiter"]

_WINDOW = 0.1
_SAMPLES = 10
_TURNED_AWAY = frozenset({429, 503})


class LimiterPolicy(Policy):
    """How many calls may be in flight and how many may wait."""

    concurrency: int | Literal["adaptive"] = Field(default=64)
    """Calls in flight at once from this process, or `adaptive` to learn it from response times."""

    queue: int = Field(default=128, ge=0)
    """Calls that may wait for a permit."""

    queue_timeout: Duration = Field(default="1s", validate_default=True)
    """The longest that a call waits for a permit."""

    initial: int = Field(default=20, ge=1)
    """Where `adaptive` starts."""

    max: int = Field(default=200, ge=1)
    """The most that `adaptive` allows."""


class Limiter:
    """Permits and those who wait for one, first come first served."""

    __slots__ = ("_waiters", "in_flight", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self._waiters: deque[Future[bool]] = deque()

    @property
    def waiting(self) -> int:
        """The number of calls in the queue."""
        return len(self._waiters)

    def release(self) -> None:
        """Give a permit back; whoever waited longest gets it."""
        self.in_flight -= 1
        if self._waiters:
            self.wake()

    def wake(self) -> None:
        """Hand out what is free to those who wait."""
        while self._waiters and self.in_flight < self.limit:
            self._waiters.popleft().set_result(True)
            self.in_flight += 1

    async def acquire(self, seconds: float) -> bool:
        """Wait for a permit at most that long; return whether there is one."""
        loop = get_running_loop()
        waiter: Future[bool] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(seconds, self._expire, waiter)
        try:
            return await waiter
        except CancelledError:
            if waiter.done() and not waiter.cancelled():
                if waiter.result():
                    self.release()  # granted in the very moment of the cancellation: pass it on
            else:
                self._waiters.remove(waiter)
            raise
        finally:
            timer.cancel()

    def _expire(self, waiter: Future[bool]) -> None:
        if not waiter.done():
            self._waiters.remove(waiter)
            waiter.set_result(False)


def limiter(policy: LimiterPolicy, *, upstream: str, events: Events, clock: Clock) -> Layer:
    """Return a layer that lets so many calls pass at once and no more.

    It raises `LimiterFull` when the queue is full or the wait too long, `DeadlineExceeded` when the
    request's time is spent in the queue.
    """
    adaptive = policy.concurrency == "adaptive"
    gradient = Gradient(policy.initial, 1, policy.max)
    permits = Limiter(int(gradient.limit) if adaptive else int(policy.concurrency))

    def refuse(request: Request, why: str) -> LimiterFull:
        if events:
            events.emit(Rejection(upstream, request.section, ErrorCode.LIMITER_FULL, why))
        detail = "too many calls to the upstream are in flight"
        return LimiterFull(detail, upstream=upstream, retry_after=policy.queue_timeout or None)

    async def queue(request: Request) -> None:
        if permits.waiting >= policy.queue:
            raise refuse(request, "limiter_full")
        remaining = request.deadline.at - clock()
        if await permits.acquire(max(min(policy.queue_timeout, remaining), 0.0)):
            return
        if remaining > policy.queue_timeout:
            raise refuse(request, "queue_timeout")
        if events:
            events.emit(
                Rejection(upstream, request.section, ErrorCode.DEADLINE_EXCEEDED, "deadline")
            )
        raise DeadlineExceeded("no time was left when a permit came free", upstream=upstream)

    def fixed(call: Call) -> Call:
        async def limited(request: Request) -> Response:
            if permits.in_flight < permits.limit:
                permits.in_flight += 1
            else:
                await queue(request)
            try:
                return await call(request)
            finally:
                permits.release()

        return limited

    def learning(call: Call) -> Call:
        window = _Window(clock() + _WINDOW)

        def learn(section: str) -> None:
            now = clock()
            if now < window.ends or window.count + window.dropped < _SAMPLES:
                return
            before = permits.limit
            mean = window.total / window.count if window.count else 0.0
            permits.limit = gradient.update(mean, window.peak, dropped=window.dropped > 0)
            window.restart(now + _WINDOW)
            permits.wake()
            if permits.limit != before and events:
                events.emit(LimitChange(upstream, section, before, permits.limit))

        async def limited(request: Request) -> Response:
            if permits.in_flight < permits.limit:
                permits.in_flight += 1
            else:
                await queue(request)
            window.peak = max(window.peak, permits.in_flight)
            began = clock()
            try:
                response = await call(request)
            except CallError as error:
                if isinstance(error, UpstreamTimeout) or error.status in _TURNED_AWAY:
                    window.dropped += 1
                raise
            else:
                window.total += clock() - began
                window.count += 1
                return response
            finally:
                permits.release()
                learn(request.section)

        return limited

    return learning if adaptive else fixed


class _Window:
    """What was seen since the limit was last thought over."""

    __slots__ = ("count", "dropped", "ends", "peak", "total")

    def __init__(self, ends: float) -> None:
        self.restart(ends)

    def restart(self, ends: float) -> None:
        self.ends = ends
        self.total = 0.0
        self.count = self.dropped = self.peak = 0
