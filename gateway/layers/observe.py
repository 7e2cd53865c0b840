"""Observe: emits an event for every request that is sent, with its outcome.

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
    """Return a layer that emits an `Attempt` for each call that ends."""
    return _ObserveGate(context)


class _ObserveGate(Gate):
    __slots__ = ()

    def admit(self, passage: Passage) -> None:
        passage.sent_at = self.clock()

    def succeeded(self, passage: Passage, response: Response) -> None:
        if self.events.wants(Attempt):
            self._emit(passage, None, response.status)

    def failed(self, passage: Passage, error: CallError) -> None:
        # What an inner layer refuses was not sent, so it is no attempt.
        if self.events.wants(Attempt) and not isinstance(error, Rejected):
            self._emit(passage, **cause_of(error))

    def abandoned(self, passage: Passage, bug: BaseException | None) -> None:
        if bug is None and self.events.wants(Attempt):
            self._emit(passage, None, None, cancelled=True)

    def _emit(
        self, passage: Passage, code: ErrorCode | None, status: int | None, **more: Any
    ) -> None:
        request = passage.request
        self.events.emit(
            Attempt(
                self.upstream,
                request.section,
                request.attempt,
                self.clock() - passage.sent_at,
                code,
                status,
                dashboard=request.dashboard,
                operation=str(request.operation),
                **more,
            )
        )
