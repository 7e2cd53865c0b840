"""Deadline: one span of time for the whole request, shared by everything that is done for it.

Two layers: `deadline` stands outside retry and hedge and ends whatever is still running when the
time is spent. `announce` stands directly above the transport, because what is left must be told for
each attempt anew, after the backoff and after the wait for a permit; there it also refuses to start
what cannot end in time. The transport needs to know nothing of it.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING

from pydantic import Field

from gateway.call import Request
from gateway.errors import DeadlineExceeded, ErrorCode
from gateway.events import Rejection
from gateway.policy import Policy
from gateway.timer import Timer, Timers
from gateway.units import Duration

if TYPE_CHECKING:
    from gateway.call import Call, Clock, Deadline, Layer, Response
    from gateway.events import Events

__all__ = ["DeadlinePolicy", "announce", "deadline"]


class DeadlinePolicy(Policy):
    """What is done about the time that remains."""

    header: str | None = Field(
        default=None, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", examples=["x-request-timeout-ms"]
    )
    """Header field that tells the upstream what remains, in whole milliseconds; none by default."""

    minimum: Duration = 0
    """No attempt is started when less than this remains."""


class _DeadlineTimer(Timer):
    """Fires when the deadline has passed, which may have been put off in the meantime."""

    __slots__ = ("_clock", "_deadline", "_timers")

    def __init__(self, timers: Timers, moment: Deadline, clock: Clock) -> None:
        super().__init__()
        self._timers = timers
        self._deadline = moment
        self._clock = clock

    def fire(self) -> None:
        remaining = self._deadline.at - self._clock()
        if remaining > 0:
            self._timers.add(self, remaining)
        else:
            super().fire()


def deadline(policy: DeadlinePolicy, *, upstream: str, events: Events, clock: Clock) -> Layer:
    """Return the layer that raises `DeadlineExceeded` once the request's time is spent."""
    minimum = policy.minimum
    timers = Timers()

    def exceeded(request: Request, detail: str) -> DeadlineExceeded:
        if events:
            events.emit(
                Rejection(upstream, request.section, ErrorCode.DEADLINE_EXCEEDED, "deadline")
            )
        return DeadlineExceeded(detail, upstream=upstream)

    def layer(call: Call) -> Call:
        async def bounded(request: Request) -> Response:
            remaining = request.deadline.at - clock()
            if remaining <= minimum:
                raise exceeded(request, "no time was left to start")
            timer = _DeadlineTimer(timers, request.deadline, clock)
            timers.add(timer, remaining)
            try:
                return await call(request)
            except CancelledError:
                if timer.stop():
                    raise exceeded(request, "the time for the whole request is spent") from None
                raise
            finally:
                timer.stop()

        return bounded

    return layer


def announce(
    policy: DeadlinePolicy, *, upstream: str, events: Events, clock: Clock
) -> Layer | None:
    """Return the layer that tells the upstream what remains and starts nothing too late.

    `None` when the policy asks for neither.
    """
    minimum = policy.minimum
    if policy.header is None and not minimum:
        return None
    name = policy.header.lower().encode("ascii") if policy.header is not None else None

    def layer(call: Call) -> Call:
        async def announced(request: Request) -> Response:
            remaining = request.deadline.at - clock()
            if remaining <= minimum:
                if events:
                    events.emit(
                        Rejection(
                            upstream, request.section, ErrorCode.DEADLINE_EXCEEDED, "deadline"
                        )
                    )
                raise DeadlineExceeded("too little time was left to start", upstream=upstream)
            if name is None:
                return await call(request)
            told = request.again(request.attempt)
            told.headers = (*request.headers, (name, b"%d" % max(1, remaining * 1000)))
            return await call(told)

        return announced

    return layer
