"""Two tiers as one store: this process in front, the shared one behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cache.store.base import Acquired

if TYPE_CHECKING:
    from gateway.cache.freshness import Entry
    from gateway.cache.store.base import Held, Lease
    from gateway.cache.store.memory import MemoryStore
    from gateway.cache.store.purges import Purges
    from gateway.cache.store.redis.store import RedisStore

__all__ = ["TieredStore"]


class TieredStore:
    """What is read from the shared tier stays in this process too."""

    __slots__ = ("_near", "_shared", "peek")

    def __init__(self, near: MemoryStore, shared: RedisStore) -> None:
        self._near = near
        self._shared = shared
        self.peek = near.peek  # bound once: it is on the path of every hit

    @property
    def shared(self) -> bool:
        """Other replicas see it."""
        return True

    @property
    def purges(self) -> Purges:
        """What has been declared outdated."""
        return self._shared.purges

    @property
    def up(self) -> bool:
        """Whether the shared tier can be reached."""
        return self._shared.up

    @property
    def held(self) -> Held:
        """What is in front."""
        return self._near.held

    async def get(self, key: str) -> Entry | None:
        """Return what either tier has."""
        near = self._near.peek(key)
        return near if near is not None else self._nearer(await self._shared.get(key))

    def put(self, entry: Entry, lease: Lease | None = None) -> None:
        """Keep `entry` here now and in the shared tier beside."""
        self._near.put(entry)
        self._shared.put(entry, lease)

    def discard(self, key: str) -> None:
        """Keep nothing under `key` in either tier."""
        self._near.discard(key)
        self._shared.discard(key)

    async def acquire(self, key: str) -> Acquired:
        """Ask for the lease of `key`, and for what other replicas have brought."""
        lease, entry = await self._shared.acquire(key)
        return Acquired(lease, self._nearer(entry))

    def release(self, lease: Lease) -> None:
        """Give `lease` back."""
        self._shared.release(lease)

    async def purge(self, tag: str) -> int:
        """Declare what is kept under `tag` outdated; return how many processes were told."""
        return await self._shared.purge(tag)

    async def open(self) -> None:
        """Connect the shared tier."""
        await self._shared.open()

    async def aclose(self) -> None:
        """Close both."""
        await self._shared.aclose()
        await self._near.aclose()

    def _nearer(self, entry: Entry | None) -> Entry | None:
        """Keep here what was found there, and return the later of what both have."""
        if entry is None:
            return None
        near = self._near.peek(entry.key)
        if near is not None and near.stored_at >= entry.stored_at:
            return near
        self._near.put(entry)
        return entry
