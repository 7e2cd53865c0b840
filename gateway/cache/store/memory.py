"""The tier in this process: bounded in bytes, least recently used out first."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.cache.store.base import Acquired, Held, Lease
from gateway.cache.store.purges import Purges
from gateway.offload import UNDECODED

if TYPE_CHECKING:
    from gateway.cache.freshness import Entry
    from gateway.call import Clock

__all__ = ["MemoryStore", "footprint"]

_DEFAULT = 64 * 1024 * 1024
# CPython 3.11 and orjson: an entry with its key and place takes 600 bytes, an object 184 and up, a
# list 56 and up, a value 28 and up. Real answers come to two thirds to nine tenths of what these
# figures make.
_ENTRY = 700
_OBJECT = 200
_LIST = 60
_VALUE = 35
_TEXTS = 3  # the text itself, and the strings decoded from it


def footprint(entry: Entry) -> int:
    """Return the bytes that `entry` is counted for: its text, its decoded value, itself."""
    body = entry.body
    if entry.response is not None and entry.response.value is UNDECODED:
        return _ENTRY + len(body)
    return (
        _ENTRY
        + _TEXTS * len(body)
        + _OBJECT * body.count(b"{")
        + _LIST * body.count(b"[")
        + _VALUE * body.count(b",")
    )


class MemoryStore:
    """Entries of this process alone.

    Args:
        max_bytes: what all entries together may take, as counted by `footprint`.
        max_entry: what one may take; larger ones are not kept. A quarter of all by default.
        purges: shared with another tier, where there is one.
        now: POSIX seconds, from which purge marks are drawn.
    """

    __slots__ = ("_entries", "_max_bytes", "_max_entry", "_now", "_purges", "size")

    def __init__(
        self,
        max_bytes: int = _DEFAULT,
        *,
        max_entry: int | None = None,
        purges: Purges | None = None,
        now: Clock = time.time,
    ) -> None:
        self._entries: OrderedDict[str, tuple[Entry, int]] = OrderedDict()
        self._max_bytes = max_bytes
        self._max_entry = max_bytes // 4 if max_entry is None else max_entry
        self._now = now
        self._purges = purges if purges is not None else Purges()
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def shared(self) -> bool:
        """Nobody else sees it."""
        return False

    @property
    def purges(self) -> Purges:
        """What has been declared outdated."""
        return self._purges

    @property
    def up(self) -> bool:
        """Always."""
        return True

    @property
    def held(self) -> Held:
        """How much it is."""
        return Held(len(self._entries), self.size)

    def peek(self, key: str) -> Entry | None:
        """Return what is kept under `key`, which becomes the most recently used."""
        kept = self._entries.get(key)
        if kept is None:
            return None
        self._entries.move_to_end(key)
        return kept[0]

    async def get(self, key: str) -> Entry | None:
        """Return the same as `peek`: there is no other tier."""
        return self.peek(key)

    def put(self, entry: Entry, lease: Lease | None = None) -> None:  # noqa: ARG002 - the seam
        """Keep `entry` and let the least recently used go until all fits."""
        self.discard(entry.key)
        taken = footprint(entry)
        if taken > self._max_entry:
            return
        self._entries[entry.key] = (entry, taken)
        self.size += taken
        while self.size > self._max_bytes:
            _, (_, freed) = self._entries.popitem(last=False)
            self.size -= freed

    def discard(self, key: str) -> None:
        """Let go of what is kept under `key`."""
        kept = self._entries.pop(key, None)
        if kept is not None:
            self.size -= kept[1]

    async def acquire(self, key: str) -> Acquired:
        """Grant every lease: the flights of one process are shared elsewhere."""
        return Acquired(Lease(key), None)

    def release(self, lease: Lease) -> None:
        """Do nothing: nobody waits for it."""

    async def purge(self, tag: str) -> int:
        """Declare what is kept under `tag` outdated; this process is the only one to tell."""
        self._purges.add(tag, max(int(self._now() * 1000), self._purges.latest + 1))
        return 1

    async def open(self) -> None:
        """Do nothing: it is there."""

    async def aclose(self) -> None:
        """Let everything go."""
        self._entries.clear()
        self.size = 0
