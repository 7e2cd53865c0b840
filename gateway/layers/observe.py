"""Observe: emits an event for every request that is sent, with its outcome.

It stands directly above the timeout, so that an attempt that times out is reported as a timeout. It
checks for listeners at each call, so that they can subscribe at any time.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING

from gateway.errors import CallError, Rejected
from gateway.events import Attempt

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.errors import ErrorCode
    from gateway.events import Events

__all__ = ["observe"]


def observe(*, upstream: str, events: Events, clock: Clock) -> Layer:
    """Return a layer that emits an `Attempt` for each call that ends.

    Args:
        upstream: name of the upstream.
        events: receives attempts.
        clock: monotonic seconds.
    """

    def layer(call: Call) -> Call:
        async def emitting(request: Request) -> Response:
            began = clock()
            code: ErrorCode | None = None
            status: int | None = None
            detail = excerpt = cause = ""
            cancelled = False
            try:
                response = await call(request)
            except Rejected:
                raise  # refused before it was sent: no attempt
            except CallError as error:
                code, status, detail = error.code, error.status, error.detail
                excerpt, cause = error.excerpt, error.cause
                raise
            except CancelledError:
                cancelled = True
                raise
            else:
                status = response.status
                return response
            finally:
                if code or status or cancelled:
                    events.emit(
                        Attempt(
                            upstream,
                            request.section,
                            request.attempt,
                            clock() - began,
                            code,
                            status,
                            cancelled,
                            dashboard=request.dashboard,
                            operation=str(request.operation),
                            detail=detail,
                            excerpt=excerpt,
                            cause=cause,
                        )
                    )

        def observed(request: Request) -> Awaitable[Response]:
            # No extra coroutine while no listener wants it.
            return emitting(request) if events.wants(Attempt) else call(request)

        return observed

    return layer
