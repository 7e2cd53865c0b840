"""Purges: what has been declared outdated, without looking for it.

A purge names a tag and draws the next mark, a number that only grows. An entry remembers the latest
mark that was known when its fetch began; a reader passes over an entry that is older than a purge
of any of the reader's own tags. So entries need no tags, nothing is searched or deleted, and a
purge costs the same for one entry or a million. What is passed over leaves by its lifetime or LRU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["EVERYTHING", "MARKS", "Purges", "read_mark"]

EVERYTHING = "*"
MARKS = range(1, 2**53)
"""Marks that a purge can draw: milliseconds, or one more than the last; Redis counts in float64."""

_MOST = 10_000


def read_mark(written: bytes | None) -> int:
    """Return the mark that another replica has written; 0 when it is not one."""
    if written is None or len(written) > len(str(MARKS.stop)) or not written.isdigit():
        return 0
    mark = int(written)
    return mark if mark in MARKS else 0


class Purges:
    """The marks of purged tags, as far as this process has heard.

    Attributes:
        latest: the greatest mark; entries that are not older are beyond doubt.
    """

    __slots__ = ("_marks", "latest")

    def __init__(self) -> None:
        self._marks: dict[str, int] = {}
        self.latest = 0

    def add(self, tag: str, mark: int) -> None:
        """Take note of a purge; of several of one tag the latest counts."""
        if mark > self._marks.get(tag, 0):
            self._marks[tag] = mark
            self.latest = max(self.latest, mark)
        if len(self._marks) > _MOST:
            # Bounded, and on the safe side: all of them become one purge of everything.
            self._marks = {EVERYTHING: self.latest}

    def merge(self, marks: Mapping[str, int]) -> None:
        """Take note of what others have heard."""
        for tag, mark in marks.items():
            self.add(tag, mark)

    def cover(self, mark: int, upstream: str, key: str, tags: Iterable[str]) -> bool:
        """Whether an entry with `mark` is outdated for a reader with `tags`."""
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
