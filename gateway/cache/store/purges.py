"""Purges: invalidate entries by tag, without searching for them.

A purge names a tag and takes the next mark, a number that only grows. An entry stores the latest
mark that was known when its fetch began; a reader ignores an entry that is older than a purge of
any of the reader's own tags. So entries need no tags, nothing is searched or deleted, and a purge
costs the same for one entry or a million. An ignored entry expires or is evicted later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["EVERYTHING", "MARKS", "Purges", "read_mark"]

EVERYTHING = "*"
MARKS = range(1, 2**53)
"""Valid marks: milliseconds, or one more than the last mark; Redis counts in float64."""

_MOST = 10_000


def read_mark(written: bytes | None) -> int:
    """Return the mark that another replica has written; 0 when it is not valid."""
    if written is None or len(written) > len(str(MARKS.stop)) or not written.isdigit():
        return 0
    mark = int(written)
    return mark if mark in MARKS else 0


class Purges:
    """The marks of purged tags that this process knows.

    Attributes:
        latest: the greatest mark; entries that are not older are valid.
    """

    __slots__ = ("_marks", "latest")

    def __init__(self) -> None:
        self._marks: dict[str, int] = {}
        self.latest = 0

    def add(self, tag: str, mark: int) -> None:
        """Record a purge; the latest one of a tag counts."""
        if mark > self._marks.get(tag, 0):
            self._marks[tag] = mark
            self.latest = max(self.latest, mark)
        if len(self._marks) > _MOST:
            # Bounded, and safe: all of them become one purge of everything.
            self._marks = {EVERYTHING: self.latest}

    def merge(self, marks: Mapping[str, int]) -> None:
        """Record the purges that other replicas know."""
        for tag, mark in marks.items():
            self.add(tag, mark)

    def cover(self, mark: int, upstream: str, key: str, tags: Iterable[str]) -> bool:
        """Return whether an entry with `mark` is purged for a reader with `tags`."""
        marks = self._marks
        return (
            marks.get(EVERYTHING, 0) > mark
            or marks.get(upstream, 0) > mark
            or marks.get(key, 0) > mark
            or any(marks.get(tag, 0) > mark for tag in tags)
        )

    def since(self, mark: int) -> dict[str, int]:
        """Return the purges that are later than `mark`."""
        return {tag: own for tag, own in self._marks.items() if own > mark}
