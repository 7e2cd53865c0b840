"""Meter: what the endpoint of one dashboard counts, for metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.engine.outcome import State
from gateway.values.histogram import MANY, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.engine.outcome import Outcome
    from gateway.plan.model import Plan

__all__ = ["GONE", "DashboardMeter"]

GONE = 499
"""The status that stands for a client that left before its answer, as in nginx."""


class DashboardMeter:
    """The counts of one dashboard.

    Attributes:
        hits: answers from the response cache, by status.
        statuses: the other answers, by status.
        durations: of the answers that are not from the response cache.
        sections: durations of sections, by name and state.
    """

    __slots__ = ("_ok", "durations", "hits", "sections", "statuses")

    def __init__(self) -> None:
        self.hits: dict[int, int] = {}
        self.statuses: dict[int, int] = {}
        self.durations = Histogram()
        self.sections: dict[tuple[str, str], Histogram] = {}
        self._ok: dict[str, Histogram] = {}  # those of sections that are `ok`, for speed

    def hit(self, status: int) -> None:
        """Count an answer from the response cache."""
        self.hits[status] = self.hits.get(status, 0) + 1

    def answered(self, status: int, seconds: float) -> None:
        """Count another answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        durations = self.durations
        durations.add(seconds)
        if len(durations.recent) > MANY:
            durations.sort()

    def landed(self, plan: Plan, outcomes: Iterable[Outcome | None]) -> None:
        """Count the outcomes of the sections of an answer, in the order of the plan."""
        ok = self._ok
        for section, outcome in zip(plan.sections, outcomes, strict=True):
            if outcome is not None:
                name = section.name
                found = ok.get(name) if outcome.state is State.OK else None
                if found is None:  # the first, or not as usual
                    found = self._histogram(name, outcome.state)
                found.add(outcome.elapsed)
                if len(found.recent) > MANY:
                    found.sort()

    def _histogram(self, section: str, state: State) -> Histogram:
        found = self.sections.setdefault((section, state.value), Histogram())
        if state is State.OK:
            self._ok[section] = found
        return found
