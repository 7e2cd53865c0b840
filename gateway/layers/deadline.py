"""Deadline: one span of time for the whole request, shared by everything that is done for it.

Two layers. `deadline` stands outside retry and hedge and ends whatever is still running when the
time is spent. `announce` stands directly above the transport, because what is left must be told for
each attempt anew, after the backoff and after the wait for a permit; there it also refuses to start
what cannot end in time. The transport needs to know nothing of it.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING

from pydantic import Field

from gateway.aio.deadlines import DeadlineTimer
from gateway.aio.timers import Wheel
from gateway.errors import DeadlineExceeded, ErrorCode
from gateway.events import Rejection
from gateway.values.base import Policy
from gateway.values.units import Duration

if TYPE_CHECKING:
    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["DeadlinePolicy", "announce", "deadline"]


class DeadlinePolicy(Policy):
    """What is done about the time that remains."""

    header: str | None = Field(
        default=None, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", examples=["x-request-timeout-ms"]
    )
    """Header field that tells the upstream what remains, in whole milliseconds; none by default."""

    minimum: Duration = 0
    """No attempt is started when no more than this remains."""


def deadline(policy: DeadlinePolicy, *, upstream: str, events: Events, clock: Clock) -> Layer:
    """Return the layer that raises `DeadlineExceeded` once the request's time is spent.

    Args:
        policy: when it is too late to start.
        upstream: name of the upstream, for events and errors.
        events: where refusals are told.
        clock: that of the deadlines.
    """
    minimum = policy.minimum
    wheel = Wheel()

    def layer(call: Call) -> Call:
        async def bounded(request: Request) -> Response:
            remaining = request.deadline.at - clock()
            if remaining <= minimum:
                raise _exceeded("too little time was left to start", upstream, events, request)
            timer = DeadlineTimer(wheel, remaining, request.deadline, clock)
            try:
                return await call(request)
            except CancelledError:
                if timer.stop():
                    spent = "the time for the whole request is spent"
                    raise _exceeded(spent, upstream, events, request) from None
                raise
            finally:
                timer.stop()

        return bounded

    return layer


def announce(
    policy: DeadlinePolicy, *, upstream: str, events: Events, clock: Clock
) -> Layer | None:
    """Return the layer that tells the upstream what remains and starts nothing too late.

    `None` when the policy asks for neither. Parameters are those of `deadline`.
    """
    minimum = policy.minimum
    name = policy.header.lower().encode("ascii") if policy.header is not None else None
    if name is None and not minimum:
        return None

    def layer(call: Call) -> Call:
        async def announced(request: Request) -> Response:
            remaining = request.deadline.at - clock()
            if remaining <= minimum:
                raise _exceeded("too little time was left to start", upstream, events, request)
            if name is None:
                return await call(request)
            told = request.again(request.attempt)
            # Rounded down, but never to nothing: some take 0 for "no limit".
            told.headers = (*request.headers, (name, b"%d" % max(1, int(remaining * 1000))))
            return await call(told)

        return announced

    return layer


def _exceeded(detail: str, upstream: str, events: Events, request: Request) -> DeadlineExceeded:
    if events.wants(Rejection):
        events.emit(Rejection(upstream, request.section, ErrorCode.DEADLINE_EXCEEDED, "deadline"))
    return DeadlineExceeded(detail, upstream=upstream)
