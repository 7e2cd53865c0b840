"""Load shedding: limits the dashboard requests in flight; further ones get 503 and Retry-After."""

from __future__ import annotations

__all__ = ["InFlight"]


class InFlight:
    """Counts dashboard requests in flight.

    Attributes:
        count: requests in flight now.
        limit: most requests in flight.
        refused: requests refused since the start.
    """

    __slots__ = ("count", "limit", "refused")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0
        self.refused = 0

    def enter(self) -> bool:
        """Count a request and return true, or return false at the limit."""
        if self.count >= self.limit:
            self.refused += 1
            return False
        self.count += 1
        return True

    def leave(self) -> None:
        """Uncount a request that has ended."""
        self.count -= 1
