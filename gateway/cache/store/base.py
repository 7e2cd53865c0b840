"""The face that layers see of a store."""

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
    """The shared store can be reached again, or no longer; of no upstream and no section.

    Attributes:
        up: it can be reached.
        why: the kind of error that it was given up for; empty when up.
    """

    up: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class StoreRefused(Event):
    """The shared store can be read but takes no writes; of no upstream and no section.

    Attributes:
        why: the kind of error: it is full, or read-only.
    """

    why: str


class Lease:
    """The right to fetch one key, held by one replica at a time.

    Attributes:
        key: what may be fetched.
        token: proves who holds it; empty when there is nobody to share with just now.
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
        """Renew it no longer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Acquired(NamedTuple):
    """What became of asking for a lease.

    Attributes:
        lease: the right to fetch; `None` while another replica has it.
        entry: what is kept now, so that whoever waits finds what the holder has brought.
    """

    lease: Lease | None
    entry: Entry | None


class Held(NamedTuple):
    """What one process keeps.

    Attributes:
        entries: how many.
        bytes: what they are counted for.
    """

    entries: int
    bytes: int


class Store(Protocol):
    """Keeps entries. No method raises for what happens to a server; writes delay no answer."""

    @property
    def shared(self) -> bool:
        """Whether other replicas see it, so that leases are worth asking for."""

    @property
    def purges(self) -> Purges:
        """What has been declared outdated; readers judge entries by it."""

    @property
    def up(self) -> bool:
        """Whether every tier can be reached."""

    @property
    def held(self) -> Held:
        """What this process keeps just now."""

    def peek(self, key: str) -> Entry | None:
        """Return what this process has, at once."""

    async def get(self, key: str) -> Entry | None:
        """Return what any tier has; calls of one turn of the event loop share a round trip."""

    def put(self, entry: Entry, lease: Lease | None = None) -> None:
        """Keep `entry`: here now, elsewhere beside, and there only while `lease` is still held."""

    def discard(self, key: str) -> None:
        """Keep nothing under `key` any longer: here now, elsewhere beside."""

    async def acquire(self, key: str) -> Acquired:
        """Ask for the right to fetch `key`, and for what is kept there by now."""

    def release(self, lease: Lease) -> None:
        """Give a lease back without an entry, so that the next in line can fetch."""

    async def purge(self, tag: str) -> int:
        """Declare everything kept so far under `tag` outdated, in all replicas.

        Tags are those of requests (`dashboard:NAME`, `section:NAME.NAME`, `tag:NAME`),
        `upstream:NAME`, a key, or `*` for everything.

        Returns:
            How many processes were told at once; those that cannot be reached follow later.
        """

    async def open(self) -> None:
        """Connect, within a second; what cannot be reached is tried again in the background."""

    async def aclose(self) -> None:
        """Finish what is being written, within a second, and close every connection."""
