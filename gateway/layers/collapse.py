"""Collapse: callers who ask for the same thing at the same time share one flight.

A flight is a task of its own, so that it outlives its first caller's cancellation: the others still
get the answer, and one who comes back a moment later finds the flight and need not start another.
It cannot fly for ever: its deadline is the latest of its callers', bounded by the policy. Each
caller keeps to its own deadline.
"""

from __future__ import annotations

import copy
from asyncio import CancelledError, Future, Task, wait
from typing import TYPE_CHECKING, Any

from pydantic import Field

from gateway.call import Deadline
from gateway.errors import CallError, DeadlineExceeded, ErrorCode
from gateway.events import Rejection
from gateway.policy import Policy
from gateway.timer import Alarm, Wheel
from gateway.units import Positive

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["CollapsePolicy", "Flights", "collapse", "same_request"]

_SAFE = frozenset({"GET", "HEAD"})
"""Only these can be shared: two orders are two orders (RFC 9110 section 9.2.1)."""


class CollapsePolicy(Policy):
    """How callers share."""

    flight: Positive = Field(default="30s", validate_default=True)
    """The longest that a flight may last, whoever joins it."""


_PATIENCE = 0.008
"""Seconds beyond its deadline that a caller gives a flight which ends at the same deadline.

What went wrong in flight says more than that the time is spent, and it is told once.
"""


def same_request(request: Request) -> Hashable:
    """Return what makes two requests the same: method, target and forwarded header fields."""
    return (request.method, request.target, tuple(request.headers))


class _Caller(Alarm):
    """One who waits for a flight, until its own deadline rings."""

    __slots__ = ("answer", "expired")

    def __init__(self, answer: Future[Response], expired: Callable[[], CallError]) -> None:
        self.answer = answer
        self.expired = expired

    def ring(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(self.expired())


class _Flight:
    """One call, its deadline, and who waits for it."""

    __slots__ = ("callers", "latest", "request", "task")

    task: Task[None]

    def __init__(self, request: Request, latest: float) -> None:
        self.request = request.again(request.attempt)
        self.request.deadline = Deadline(min(request.deadline.at, latest))
        self.latest = latest
        self.callers: list[_Caller] = []

    def put_off(self, deadline: Deadline) -> None:
        """Let the flight last for a caller who has more time than those before."""
        own = self.request.deadline
        own.at = max(own.at, min(deadline.at, self.latest))

    async def fly(self, call: Call) -> None:
        """Make the call and tell the callers."""
        try:
            response = await call(self.request)
        except Exception as error:
            if not self.fail(error) and not isinstance(error, CallError):
                # A bug that nobody waits to hear of.
                self.task.get_loop().call_exception_handler(
                    {"message": "a flight that nobody waits for failed", "exception": error}
                )
        else:
            self._land(response)

    def _land(self, response: Response) -> None:
        first, *joined = self.callers
        if not first.answer.done():
            first.answer.set_result(response)
        if joined:
            shared = copy.copy(response)
            shared.cache = "collapsed"  # the `collapsed` of Cache-Status, RFC 9211 section 2.6
            for caller in joined:
                if not caller.answer.done():
                    caller.answer.set_result(shared)

    def fail(self, error: Exception) -> bool:
        """Raise `error` at every caller that still waits; return whether there was any."""
        awaited = [caller.answer for caller in self.callers if not caller.answer.done()]
        for answer in awaited:
            # One instance raised by many callers would collect all their tracebacks.
            answer.set_exception(copy.copy(error) if isinstance(error, CallError) else error)
        return bool(awaited)


class Flights:
    """The flights under way at one upstream."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[Hashable, _Flight] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def board(
        self, key: Hashable, call: Call, request: Request, latest: float, loop: Any
    ) -> _Flight:
        """Return the flight for `key`; one that starts now lasts until `latest` at most."""
        flight = self._by_key.get(key)
        if flight is None:
            flight = self._by_key[key] = _Flight(request, latest)
            flight.task = loop.create_task(self._fly(key, flight, call))
        else:
            flight.put_off(request.deadline)
        return flight

    async def _fly(self, key: Hashable, flight: _Flight, call: Call) -> None:
        try:
            await flight.fly(call)
        except CancelledError:
            flight.fail(_ended())
            raise
        finally:
            self._by_key.pop(key, None)

    async def aclose(self, grace: float = 0) -> None:
        """Give the flights under way `grace` seconds to land, then cancel the rest and await it."""
        flights = list(self._by_key.values())
        if not flights:
            return
        tasks = [flight.task for flight in flights]
        if grace > 0:
            await wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await wait(tasks)
        for flight in flights:  # a task that is cancelled before its first step tells nobody
            flight.fail(_ended())
        self._by_key.clear()


def _ended() -> DeadlineExceeded:
    return DeadlineExceeded("the gateway has ended what was under way")


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
    wheel = Wheel()

    def layer(call: Call) -> Call:
        async def collapsed(request: Request) -> Response:
            if request.method not in _SAFE:
                return await call(request)

            def expired() -> DeadlineExceeded:
                if events:
                    code = ErrorCode.DEADLINE_EXCEEDED
                    events.emit(Rejection(upstream, request.section, code, "deadline"))
                spent = "the time for the whole request is spent"
                return DeadlineExceeded(spent, upstream=upstream)

            now = clock()
            remaining = request.deadline.at - now
            if remaining <= 0:
                raise expired()
            loop = wheel.task().get_loop()
            flight = flights.board(key(request), call, request, now + policy.flight, loop)
            caller = _Caller(loop.create_future(), expired)
            flight.callers.append(caller)
            wheel.set(caller, remaining + _PATIENCE)
            try:
                return await caller.answer
            finally:
                caller.slot.discard(caller)

        return collapsed

    return layer
