"""Collapse: callers who ask for the same thing at the same time share one flight.

A flight is a task of its own, so that it outlives its first caller's cancellation: the others still
get the answer and what stands further out (the cache) is filled even when nobody waits any more. It
cannot fly for ever: its deadline is the latest of its callers', bounded by the policy. Each caller
keeps to its own deadline.
"""

from __future__ import annotations

import copy
from asyncio import Future, Task, get_running_loop, wait
from typing import TYPE_CHECKING

from pydantic import Field

from gateway.call import Deadline
from gateway.errors import CallError, DeadlineExceeded, ErrorCode
from gateway.events import Rejection
from gateway.policy import Policy
from gateway.units import Positive

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["CollapsePolicy", "Flights", "collapse", "same_request"]


class CollapsePolicy(Policy):
    """How callers share."""

    flight: Positive = Field(default="30s", validate_default=True)
    """The longest that a flight may last, whoever joins it."""


def same_request(request: Request) -> Hashable:
    """Return what makes two requests the same: method, target, forwarded headers and body."""
    return (request.method, request.target, tuple(request.headers), request.body)


class _Flight:
    """One call, its deadline, and who waits for it."""

    __slots__ = ("deadline", "latest", "task", "waiters")

    task: Task[Response]

    def __init__(self, deadline: Deadline, latest: float) -> None:
        self.deadline = deadline
        self.latest = latest
        self.waiters: list[Future[Response]] = []

    def landed(self, task: Task[Response]) -> None:
        error = None if task.cancelled() else task.exception()
        for waiter in self.waiters:
            if waiter.done():
                continue
            if task.cancelled():
                waiter.cancel()
            elif error is None:
                waiter.set_result(task.result())
            else:
                # An exception instance that several callers raise collects all their tracebacks.
                waiter.set_exception(copy.copy(error) if isinstance(error, CallError) else error)


class Flights:
    """The flights under way at one upstream."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[Hashable, _Flight] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: Hashable) -> _Flight | None:
        """Return the flight for `key` that is under way."""
        return self._by_key.get(key)

    def start(self, key: Hashable, call: Call, request: Request, latest: float) -> _Flight:
        """Start a flight for `request` that ends by `latest`, seconds of the clock."""
        flight = _Flight(Deadline(min(request.deadline.at, latest)), latest)
        own = request.again(request.attempt)
        own.deadline = flight.deadline

        async def fly() -> Response:
            try:
                return await call(own)
            finally:
                del self._by_key[key]

        flight.task = get_running_loop().create_task(fly())
        flight.task.add_done_callback(flight.landed)
        self._by_key[key] = flight
        return flight

    async def aclose(self) -> None:
        """Cancel what is still under way and wait until it is gone."""
        tasks = [flight.task for flight in self._by_key.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await wait(tasks)


def collapse(
    policy: CollapsePolicy,
    *,
    upstream: str,
    events: Events,
    clock: Clock,
    flights: Flights,
    key: Callable[[Request], Hashable] = same_request,
) -> Layer:
    """Return a layer that makes one call of all that ask for the same thing at once.

    Args:
        policy: how callers share.
        upstream: name of the upstream, for events and errors.
        events: where callers whose time was spent are told.
        clock: that of the deadlines.
        flights: those of this upstream; whoever made it closes it.
        key: what makes two requests the same.
    """

    def expire(waiter: Future[Response], section: str) -> None:
        if waiter.done():
            return
        if events:
            events.emit(Rejection(upstream, section, ErrorCode.DEADLINE_EXCEEDED, "deadline"))
        waiter.set_exception(
            DeadlineExceeded("the time for the whole request is spent", upstream=upstream)
        )

    def layer(call: Call) -> Call:
        async def collapsed(request: Request) -> Response:
            now = clock()
            name = key(request)
            flight = flights.get(name)
            if flight is None:
                flight = flights.start(name, call, request, now + policy.flight)
            else:
                at = min(request.deadline.at, flight.latest)
                flight.deadline.at = max(flight.deadline.at, at)
            loop = get_running_loop()
            waiter: Future[Response] = loop.create_future()
            flight.waiters.append(waiter)
            remaining = request.deadline.at - now
            timer = loop.call_later(max(remaining, 0), expire, waiter, request.section)
            try:
                return await waiter
            finally:
                timer.cancel()

        return collapsed

    return layer
