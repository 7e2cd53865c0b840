"""The store in this process's memory: bounded in bytes, evicts the least recently used entries."""

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
# CPython 3.11 and orjson: an entry with its key takes 600 bytes, an object at least 184, a list at
# least 56, a value at least 28. Real answers take two thirds to nine tenths of this estimate.
_ENTRY = 700
_OBJECT = 200
_LIST = 60
_VALUE = 35
_TEXTS = 3  # the text itself, and the strings decoded from it


def footprint(entry: Entry) -> int:
    """Return the estimated bytes of `entry`: its text, its decoded value, itself."""
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
    """A store for one process.

    Args:
        max_bytes: maximum bytes of all entries, as estimated by `footprint`.
        max_entry: maximum bytes of one entry; larger ones are not stored. A quarter of `max_bytes`
            by default.
        purges: shared with another tier, where there is one.
        now: POSIX seconds, from which purge marks are generated.
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
        """Always false: other processes do not see it."""
        return False

    @property
    def purges(self) -> Purges:
        """The known purges."""
        return self._purges

    @property
    def up(self) -> bool:
        """Always."""
        return True

    @property
    def held(self) -> Held:
        """The current contents."""
        return Held(len(self._entries), self.size)

    def peek(self, key: str) -> Entry | None:
        """Return the entry of `key`, which becomes the most recently used."""
        stored = self._entries.get(key)
        if stored is None:
            return None
        self._entries.move_to_end(key)
        return stored[0]

    async def get(self, key: str) -> Entry | None:
        """Return the same as `peek`: there is no other tier."""
        return self.peek(key)

    def put(self, entry: Entry, lease: Lease | None = None) -> None:  # noqa: ARG002 - the protocol
        """Store `entry` and evict the least recently used entries until all fit."""
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
        """Remove the entry of `key`."""
        stored = self._entries.pop(key, None)
        if stored is not None:
            self.size -= stored[1]

    async def acquire(self, key: str) -> Acquired:
        """Grant every lease: the layer `collapse` already shares the calls of one process."""
        return Acquired(Lease(key), None)

    def release(self, lease: Lease) -> None:
        """Do nothing: no other replica waits for it."""

    async def purge(self, tag: str) -> int:
        """Invalidate what is stored under `tag`, in this process only."""
        self._purges.add(tag, max(int(self._now() * 1000), self._purges.latest + 1))
        return 1

    async def open(self) -> None:
        """Do nothing: memory needs no connection."""

    async def aclose(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self.size = 0
