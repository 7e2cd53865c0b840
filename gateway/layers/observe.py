"""Attempts: tell every request that is really sent, and how it ended.

Stands directly above the timeout, so that an attempt it ends is told as a timeout. It looks for
listeners at each call, so that they can begin to listen at any time.
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
    """Return a layer that emits an `Attempt` for each call that comes to an end.

    Args:
        upstream: name of the upstream.
        events: where attempts are told.
        clock: monotonic seconds.
    """

    def layer(call: Call) -> Call:
        async def told(request: Request) -> Response:
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
            # No coroutine of its own while no listener wants it.
            return told(request) if events.wants(Attempt) else call(request)

        return observed

    return layer
