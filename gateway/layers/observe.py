"""Observe: counts every request that is sent, by its outcome, and emits an event for it.

It stands directly above the timeout, so that an attempt that times out is reported as a timeout. It
checks for listeners at each call, so that they can subscribe at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.errors import Rejected
from gateway.events import Attempt, cause_of
from gateway.layers.passage import Gate

if TYPE_CHECKING:
    from gateway.call import Response
    from gateway.errors import CallError, ErrorCode
    from gateway.layers.context import LayerContext
    from gateway.layers.passage import Passage

__all__ = ["observe"]


def observe(context: LayerContext) -> Gate:
    """Return a layer that counts each call that ends, and emits an `Attempt` for it."""
    return _ObserveGate(context)


class _ObserveGate(Gate):
    __slots__ = ("_meter",)

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self._meter = context.meter

    def succeeded(self, passage: Passage, response: Response) -> None:
        seconds = self.clock() - passage.now
        self._meter.ended(seconds)
        if self.events.wants(Attempt):
            self._emit(passage, seconds, None, response.status)

    def failed(self, passage: Passage, error: CallError) -> None:
        if isinstance(error, Rejected):  # it was not sent, so it is no attempt
            return
        seconds = self.clock() - passage.now
        self._meter.failed(error.code, seconds)
        if self.events.wants(Attempt):
            self._emit(passage, seconds, **cause_of(error))

    def abandoned(self, passage: Passage, bug: BaseException | None) -> None:
        if bug is not None:
            return
        seconds = self.clock() - passage.now
        self._meter.failed("cancelled", seconds)
        if self.events.wants(Attempt):
            self._emit(passage, seconds, None, None, cancelled=True)

    def _emit(
        self,
        passage: Passage,
        seconds: float,
        code: ErrorCode | None,
        status: int | None,
        **more: Any,
    ) -> None:
        request = passage.request
        self.events.emit(
            Attempt(
                self.upstream,
                request.section,
                request.attempt,
                seconds,
                code,
                status,
                dashboard=request.dashboard,
                operation=str(request.operation),
                **more,
            )
        )
