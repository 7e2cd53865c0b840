"""The interface of a store, and the types that it uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.events import Event

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from gateway.cache.freshness import Entry
    from gateway.cache.store.purges import Purges

__all__ = ["Acquired", "Held", "Lease", "Store", "StoreChange", "StoreRefused"]


@dataclass(frozen=True, slots=True)
class StoreChange(Event):
    """The shared store became reachable or unreachable; upstream and section are empty.

    Attributes:
        up: it can be reached.
        why: the type of the error that made it unreachable; empty when up.
    """

    up: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class StoreRefused(Event):
    """The shared store can be read but refuses writes; upstream and section are empty.

    Attributes:
        why: the type of the error: it is full, or read-only.
    """

    why: str


class Lease:
    """The right to fetch one key, held by one replica at a time.

    Attributes:
        key: what may be fetched.
        token: proves who holds it; empty while there is no shared store to coordinate with.
        timer: renews it while the fetch lasts.
        ends: monotonic seconds after which it is no longer renewed.
    """

    __slots__ = ("ends", "key", "timer", "token")

    def __init__(self, key: str, token: bytes = b"", ends: float = 0.0) -> None:
        self.key = key
        self.token = token
        self.ends = ends
        self.timer: TimerHandle | None = None

    def stop(self) -> None:
        """Stop renewing the lease."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Acquired(NamedTuple):
    """The result of a request for a lease.

    Attributes:
        lease: the right to fetch; `None` while another replica has it.
        entry: the stored entry, so that a waiting replica finds the answer of the holder.
    """

    lease: Lease | None
    entry: Entry | None


class Held(NamedTuple):
    """The contents of one process's memory.

    Attributes:
        entries: the number of entries.
        bytes: their estimated size.
    """

    entries: int
    bytes: int


class Store(Protocol):
    """Stores entries. No method raises because of the server; writes never delay an answer."""

    @property
    def shared(self) -> bool:
        """Whether other replicas share it, so that leases are useful."""

    @property
    def purges(self) -> Purges:
        """The known purges; readers check entries against them."""

    @property
    def up(self) -> bool:
        """Whether every tier can be reached."""

    @property
    def held(self) -> Held:
        """The current contents of this process's memory."""

    def peek(self, key: str) -> Entry | None:
        """Return the entry in this process's memory, without waiting."""

    async def get(self, key: str) -> Entry | None:
        """Return the entry from any tier; calls of one loop iteration share a round trip."""

    def put(self, entry: Entry, lease: Lease | None = None) -> None:
        """Store `entry` in this process now, and in the background in the shared tier.

        The shared tier stores it only while `lease` is still held.
        """

    def discard(self, key: str) -> None:
        """Remove the entry of `key` in this process now, elsewhere in the background."""

    async def acquire(self, key: str) -> Acquired:
        """Request the right to fetch `key`, and read its current entry."""

    def release(self, lease: Lease) -> None:
        """Release a lease without storing an entry, so that another replica can fetch."""

    async def purge(self, tag: str) -> int:
        """Invalidate everything stored so far under `tag`, in all replicas.

        Tags are those of requests (`dashboard:NAME`, `section:NAME.NAME`, `tag:NAME`),
        `upstream:NAME`, a key, or `*` for everything.

        Returns:
            The number of processes notified at once; unreachable ones are notified later.
        """

    async def open(self) -> None:
        """Connect within a second; if that fails, retry in the background."""

    async def aclose(self) -> None:
        """Finish pending writes within a second, and close every connection."""
