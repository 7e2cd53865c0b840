"""Adaptive LIFO: a queue that serves the oldest first, and the newest first while it is overloaded.

While a queue is short, its order only decides who waits a little longer, and first in, first out is
fair. While it is longer than its waiters can bear, first in, first out serves everyone just too
late. The newest has the most time left (Maurer, "Fail at Scale", ACM Queue 2015).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

__all__ = ["AdaptiveLifo"]

T = TypeVar("T")


class AdaptiveLifo(OrderedDict[T, float]):
    """Waiters in the order of their arrival; every operation takes constant time.

    It is overloaded while the oldest waiter has spent half of the time that it can wait. As a
    mapping it leads from each waiter to that moment.
    """

    __slots__ = ()

    def append(self, waiter: T, now: float, until: float) -> None:
        """Add a waiter that can wait from `now` until `until`."""
        self[waiter] = (now + until) / 2

    def discard(self, waiter: T) -> None:
        """Remove a waiter if it is there."""
        self.pop(waiter, None)

    def oldest(self) -> T:
        """Return the waiter that came first, and leave it."""
        return next(iter(self))

    def overloaded(self, now: float) -> bool:
        """Return whether the oldest waiter has spent half of its time."""
        return bool(self) and self[next(iter(self))] < now

    def take(self, now: float) -> T:
        """Remove and return the waiter to serve next."""
        return self.popitem(last=self.overloaded(now))[0]
