"""Observe: emits an event for every request that is sent, with its outcome.

It stands directly above the timeout, so that an attempt that times out is reported as a timeout. It
checks for listeners at each call, so that they can subscribe at any time.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Any

from gateway.errors import CallError, Rejected
from gateway.events import Attempt, cause_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.call import Call, Layer, Request, Response
    from gateway.errors import ErrorCode
    from gateway.layers.context import LayerContext

__all__ = ["observe"]


def observe(context: LayerContext) -> Layer:
    """Return a layer that emits an `Attempt` for each call that ends."""
    wants = context.events.wants

    def layer(call: Call) -> Call:
        def observed(request: Request) -> Awaitable[Response]:
            # No extra coroutine while no listener wants it.
            return _reported(call, request, context) if wants(Attempt) else call(request)

        return observed

    return layer


async def _reported(call: Call, request: Request, context: LayerContext) -> Response:
    """Make the call, and emit how it ended."""
    began = context.clock()

    def emit(code: ErrorCode | None, status: int | None, **more: Any) -> None:
        context.events.emit(
            Attempt(
                context.upstream,
                request.section,
                request.attempt,
                context.clock() - began,
                code,
                status,
                dashboard=request.dashboard,
                operation=str(request.operation),
                **more,
            )
        )

    try:
        response = await call(request)
    except Rejected:
        raise  # refused before it was sent: no attempt
    except CallError as error:
        emit(**cause_of(error))
        raise
    except CancelledError:
        emit(None, None, cancelled=True)
        raise
    emit(None, response.status)
    return response
