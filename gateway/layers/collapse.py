"""Collapse: callers who ask for the same thing at the same time share one flight.

A flight is a task of its own, so that it outlives its first caller's cancellation: the others still
get the answer, and one who comes back a moment later finds the flight and need not start another.
It cannot fly for ever: its deadline is the latest of its callers', bounded by the policy. Each
caller keeps to its own deadline.

An answer that its upstream lets no one use for another request (RFC 9111: `no-store`, `private`,
`no-cache`, `Vary: *`) and that is not cached by a policy either is for the caller that began the
flight. The others make their own calls; later requests of the same kind do not wait for each other.
"""

from __future__ import annotations

import copy
from asyncio import CancelledError, Future, Task, wait
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import Field

from gateway.aio.deadlines import CALLER_GRACE
from gateway.aio.timers import Alarm, Wheel
from gateway.call import Deadline
from gateway.errors import CallError, DeadlineExceeded, ErrorCode
from gateway.events import Rejection
from gateway.values.base import Policy
from gateway.values.restrictions import Restriction
from gateway.values.units import Positive

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["CollapsePolicy", "Flights", "collapse"]


class CollapsePolicy(Policy):
    """How callers share."""

    flight: Positive = Field(default="30s", validate_default=True)
    """The longest that a flight may last, whoever joins it."""


_EXCLUSIVE = Restriction.NO_STORE | Restriction.PRIVATE | Restriction.NO_CACHE | Restriction.VARIES
_REMEMBERED = 1024


def _is_exclusive(response: Response) -> bool:
    """Whether an answer is for one request only; a policy that caches it says otherwise."""
    forbidden = response.restrictions
    return bool(forbidden) and response.as_of is None and bool(forbidden & _EXCLUSIVE)


class _Caller(Alarm):
    """One who waits for a flight, until its own deadline rings.

    Attributes:
        answer: what the flight brings; `None` where that is for another caller.
        expired: makes the error of a deadline that has come.
    """

    __slots__ = ("answer", "expired")

    def __init__(self, answer: Future[Response | None], expired: Callable[[], CallError]) -> None:
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

    async def fly(self, call: Call) -> Response | None:
        """Make the call, pass its answer or error on to the callers, and return the answer."""
        try:
            response = await call(self.request)
        except Exception as error:
            if not self.fail(error) and not isinstance(error, CallError):
                # A bug that nobody waits to hear of.
                self.task.get_loop().call_exception_handler(
                    {"message": "a flight that nobody waits for failed", "exception": error}
                )
            return None
        self._land(response)
        return response

    def _land(self, response: Response) -> None:
        first, *joined = self.callers
        if not first.answer.done():
            first.answer.set_result(response)
        if joined and _is_exclusive(response):
            for caller in joined:
                if not caller.answer.done():
                    caller.answer.set_result(None)
        elif joined:
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
    """The flights under way at one upstream.

    Attributes:
        exclusive: hashes of the keys whose latest answer was for one request only; bounded. Two
            keys of one hash only fail to share.
    """

    __slots__ = ("_by_key", "exclusive")

    def __init__(self) -> None:
        self._by_key: dict[Hashable, _Flight] = {}
        self.exclusive: dict[int, None] = {}

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

    def note(self, key: Hashable, response: Response) -> None:
        """Remember whether the answers to `key` are for one request only."""
        hashed = hash(key)
        if not _is_exclusive(response):
            self.exclusive.pop(hashed, None)
        elif hashed not in self.exclusive:
            if len(self.exclusive) >= _REMEMBERED:
                del self.exclusive[next(iter(self.exclusive))]
            self.exclusive[hashed] = None

    async def _fly(self, key: Hashable, flight: _Flight, call: Call) -> None:
        try:
            response = await flight.fly(call)
            if response is not None and response.restrictions:
                self.note(key, response)
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
    key: Callable[[Request], Hashable] = attrgetter("identity"),
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
            if not request.safe:
                return await call(request)

            def expired() -> DeadlineExceeded:
                if events.wants(Rejection):
                    code = ErrorCode.DEADLINE_EXCEEDED
                    events.emit(Rejection(upstream, request.section, code, "deadline"))
                spent = "the time for the whole request is spent"
                return DeadlineExceeded(spent, upstream=upstream)

            now = clock()
            remaining = request.deadline.at - now
            if remaining <= 0:
                raise expired()
            sameness = key(request)
            if flights.exclusive and hash(sameness) in flights.exclusive:
                response = await call(request)
                flights.note(sameness, response)
                return response
            loop = wheel.task().get_loop()
            flight = flights.board(sameness, call, request, now + policy.flight, loop)
            caller = _Caller(loop.create_future(), expired)
            flight.callers.append(caller)
            wheel.set(caller, remaining + CALLER_GRACE)
            try:
                answer = await caller.answer
            finally:
                caller.slot.discard(caller)
            return await call(request) if answer is None else answer

        return collapsed

    return layer
