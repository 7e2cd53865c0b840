"""Attempts: tell every request that is really sent, and how it ended.

Stands directly above the transport. It looks for listeners at each call, so that metrics and the
console can begin to listen at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import CallError, Rejected
from gateway.events import Attempt

if TYPE_CHECKING:
    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["observe"]


def observe(*, upstream: str, events: Events, clock: Clock) -> Layer:
    """Return a layer that emits an `Attempt` for each call that comes to an end."""

    def layer(call: Call) -> Call:
        async def observed(request: Request) -> Response:
            if not events:
                return await call(request)
            began = clock()
            try:
                response = await call(request)
            except Rejected:
                raise  # refused before it was sent: no attempt
            except CallError as error:
                events.emit(
                    Attempt(
                        upstream,
                        request.section,
                        request.attempt,
                        clock() - began,
                        error.code,
                        error.status,
                    )
                )
                raise
            except BaseException:
                events.emit(
                    Attempt(
                        upstream,
                        request.section,
                        request.attempt,
                        clock() - began,
                        None,
                        None,
                        cancelled=True,
                    )
                )
                raise
            events.emit(
                Attempt(
                    upstream,
                    request.section,
                    request.attempt,
                    clock() - began,
                    None,
                    response.status,
                )
            )
            return response

        return observed

    return layer
