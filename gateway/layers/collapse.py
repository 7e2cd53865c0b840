"""Collapse: concurrent callers of the same request share one upstream call, a flight.

A flight is its own task, so that it survives the cancellation of its first caller: the others still
get the answer, and a caller that comes back a moment later joins the flight instead of starting
another. Its deadline is the latest of its callers' deadlines, limited by the policy. Each caller
still has its own deadline.

An answer that its upstream allows for one request only (RFC 9111: `no-store`, `private`,
`no-cache`, `Vary: *`), and that no policy caches, goes to the caller that started the flight. The
others make their own calls; later requests with the same key do not wait for each other.
"""

from __future__ import annotations

import copy
from asyncio import CancelledError, Future, Task, wait
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import Field

from gateway.aio.deadlines import CALLER_GRACE
from gateway.aio.timers import Alarm, Wheel
from gateway.cache.freshness import CacheState
from gateway.call import Deadline
from gateway.errors import CallError, DeadlineExceeded, ErrorCode
from gateway.events import Rejection
from gateway.values.base import Policy
from gateway.values.restrictions import Restriction
from gateway.values.units import Positive

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.call import Call, Layer, Request, Response
    from gateway.layers.context import LayerContext

__all__ = ["CollapsePolicy", "Flights", "collapse"]


class CollapsePolicy(Policy):
    """How callers share a flight."""

    flight: Positive = Field(default="30s", validate_default=True)
    """Maximum duration of a flight, even if callers with more time join it."""


_EXCLUSIVE = Restriction.NO_STORE | Restriction.PRIVATE | Restriction.NO_CACHE | Restriction.VARIES
_REMEMBERED = 1024


def _is_exclusive(response: Response) -> bool:
    """Return whether an answer is for one request only; a policy that caches it overrides this."""
    provenance = response.provenance
    forbidden = provenance.restrictions
    return bool(forbidden) and provenance.as_of is None and bool(forbidden & _EXCLUSIVE)


class _Caller(Alarm):
    """A caller that waits for a flight, until its own deadline.

    Attributes:
        answer: the answer of the flight; `None` if it may not be shared: this caller makes its own
            call.
    """

    __slots__ = ("_context", "_request", "answer")

    def __init__(
        self, answer: Future[Response | None], context: LayerContext, request: Request
    ) -> None:
        self.answer = answer
        self._context = context
        self._request = request

    def ring(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(_expired(self._context, self._request))


class _Flight:
    """One call, its deadline, and the callers that wait for it."""

    __slots__ = ("callers", "latest", "request", "task")

    task: Task[None]

    def __init__(self, request: Request, latest: float) -> None:
        self.request = request.again(request.attempt)
        self.request.deadline = Deadline(min(request.deadline.at, latest))
        self.latest = latest
        self.callers: list[_Caller] = []

    def put_off(self, deadline: Deadline) -> None:
        """Extend the flight for a caller that has more time than the others."""
        own = self.request.deadline
        own.at = max(own.at, min(deadline.at, self.latest))

    async def fly(self, call: Call) -> Response | None:
        """Make the call, pass its answer or error on to the callers, and return the answer."""
        try:
            response = await call(self.request)
        except Exception as error:
            if not self.fail(error) and not isinstance(error, CallError):
                # A bug that would reach no caller.
                self.task.get_loop().call_exception_handler(
                    {"message": "a flight without callers failed", "exception": error}
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
            shared = response.marked(CacheState.COLLAPSED)
            for caller in joined:
                if not caller.answer.done():
                    caller.answer.set_result(shared)

    def fail(self, error: Exception) -> bool:
        """Raise `error` in every caller that still waits; return whether there was one."""
        awaited = [caller.answer for caller in self.callers if not caller.answer.done()]
        for answer in awaited:
            # One instance raised by many callers would collect all their tracebacks.
            answer.set_exception(copy.copy(error) if isinstance(error, CallError) else error)
        return bool(awaited)


class Flights:
    """The flights of one upstream.

    Attributes:
        exclusive: hashes of the identities whose latest answer was for one request only; bounded. A
            hash collision only prevents sharing, and a purge changes nothing.
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
        """Join or start the flight for `key`; a new one lasts at most until `latest`."""
        flight = self._by_key.get(key)
        if flight is None:
            flight = self._by_key[key] = _Flight(request, latest)
            flight.task = loop.create_task(self._fly(key, flight, call))
        else:
            flight.put_off(request.deadline)
        return flight

    def note(self, request: Request, response: Response) -> None:
        """Remember whether the answers to such requests are for one request only."""
        hashed = hash(request.identity)
        if not _is_exclusive(response):
            self.exclusive.pop(hashed, None)
        elif hashed not in self.exclusive:
            if len(self.exclusive) >= _REMEMBERED:
                del self.exclusive[next(iter(self.exclusive))]
            self.exclusive[hashed] = None

    async def _fly(self, key: Hashable, flight: _Flight, call: Call) -> None:
        try:
            response = await flight.fly(call)
            if response is not None and response.provenance.restrictions:
                self.note(flight.request, response)
        except CancelledError:
            flight.fail(_ended())
            raise
        finally:
            self._by_key.pop(key, None)

    async def aclose(self, grace: float = 0) -> None:
        """Give the flights `grace` seconds to land, then cancel and await the rest."""
        flights = list(self._by_key.values())
        if not flights:
            return
        tasks = [flight.task for flight in flights]
        if grace > 0:
            await wait(tasks, timeout=grace)
        for task in tasks:
            task.cancel()
        await wait(tasks)
        for flight in flights:  # a task that is cancelled before its first step reports nothing
            flight.fail(_ended())
        self._by_key.clear()


def _ended() -> DeadlineExceeded:
    return DeadlineExceeded("the gateway shut down before the upstream answered")


def collapse(
    policy: CollapsePolicy,
    context: LayerContext,
    flights: Flights,
    key: Callable[[Request], Hashable] = attrgetter("identity"),
) -> Layer:
    """Return a layer that makes one call for all concurrent requests with the same key.

    Args:
        policy: how callers share a flight.
        context: its events receive rejections of callers whose deadline passed.
        flights: the flights of this upstream; its creator closes it.
        key: returns the same key for two requests that may share a call.
    """
    longest, clock, wheel = policy.flight, context.clock, Wheel()

    def layer(call: Call) -> Call:
        async def collapsed(request: Request) -> Response:
            if not request.safe:
                return await call(request)
            now = clock()
            remaining = request.deadline.at - now
            if remaining <= 0:
                raise _expired(context, request)
            if flights.exclusive and hash(request.identity) in flights.exclusive:
                response = await call(request)
                flights.note(request, response)
                return response
            loop = wheel.task().get_loop()
            flight = flights.board(key(request), call, request, now + longest, loop)
            caller = _Caller(loop.create_future(), context, request)
            flight.callers.append(caller)
            wheel.set(caller, remaining + CALLER_GRACE)
            try:
                answer = await caller.answer
            finally:
                caller.slot.discard(caller)
            return await call(request) if answer is None else answer

        return collapsed

    return layer


def _expired(context: LayerContext, request: Request) -> DeadlineExceeded:
    """Return the error of a caller whose deadline has passed, and emit it."""
    upstream, events = context.upstream, context.events
    if events.wants(Rejection):
        code = ErrorCode.DEADLINE_EXCEEDED
        events.emit(Rejection(upstream, request.section, code, "deadline"))
    return DeadlineExceeded("the request's deadline has passed", upstream=upstream)
