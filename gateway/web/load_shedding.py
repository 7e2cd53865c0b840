"""The bound on dashboards under way in one process; beyond it clients are told to come back."""

from __future__ import annotations

__all__ = ["InFlight"]


class InFlight:
    """Counts what is under way.

    Attributes:
        count: dashboards under way now.
        limit: how many there may be.
        refused: how many have been turned away since the start.
    """

    __slots__ = ("count", "limit", "refused")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0
        self.refused = 0

    def enter(self) -> bool:
        """Count one in, unless there is no room."""
        if self.count >= self.limit:
            self.refused += 1
            return False
        self.count += 1
        return True

    def leave(self) -> None:
        """Count one out."""
        self.count -= 1
