"""Tally: counts rare events, for metrics. Meters count what every call causes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway.cache.refreshes import Refresh
from gateway.events import BreakerChange, CoolDown, Hedge, Rejection, Retry

if TYPE_CHECKING:
    from gateway.events import Events

__all__ = ["Tally"]


class Tally:
    """Listens to events and counts them by upstream.

    Attributes:
        retries, hedges, cool_downs: by upstream.
        rejections: by upstream and reason.
        breaker_changes: by upstream and the new state.
        refreshes: by upstream and result.
    """

    __slots__ = (
        "breaker_changes", "cool_downs", "hedges", "refreshes", "rejections", "retries"
    )  # fmt: skip

    def __init__(self) -> None:
        self.retries: Counter[tuple[str, ...]] = Counter()
        self.hedges: Counter[tuple[str, ...]] = Counter()
        self.cool_downs: Counter[tuple[str, ...]] = Counter()
        self.rejections: Counter[tuple[str, ...]] = Counter()
        self.breaker_changes: Counter[tuple[str, ...]] = Counter()
        self.refreshes: Counter[tuple[str, ...]] = Counter()

    def listen_to(self, events: Events) -> None:
        """Count the events of `events` from now on."""
        events.listen(self._retried, Retry)
        events.listen(self._hedged, Hedge)
        events.listen(self._cooled_down, CoolDown)
        events.listen(self._rejected, Rejection)
        events.listen(self._changed, BreakerChange)
        events.listen(self._refreshed, Refresh)

    def _retried(self, event: Retry) -> None:
        self.retries[event.upstream,] += 1

    def _hedged(self, event: Hedge) -> None:
        self.hedges[event.upstream,] += 1

    def _cooled_down(self, event: CoolDown) -> None:
        self.cool_downs[event.upstream,] += 1

    def _rejected(self, event: Rejection) -> None:
        self.rejections[event.upstream, event.why] += 1

    def _changed(self, event: BreakerChange) -> None:
        self.breaker_changes[event.upstream, event.after] += 1

    def _refreshed(self, event: Refresh) -> None:
        self.refreshes[event.upstream, event.result] += 1
