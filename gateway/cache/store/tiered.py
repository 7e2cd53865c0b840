"""A store with two tiers: this process's memory in front of the shared store."""

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
    """Reads through memory to the shared tier; entries read there are stored in memory too."""

    __slots__ = ("_near", "_shared", "peek")

    def __init__(self, near: MemoryStore, shared: RedisStore) -> None:
        self._near = near
        self._shared = shared
        self.peek = near.peek  # bound once, because every hit calls it

    @property
    def shared(self) -> bool:
        """Always true: other replicas see it."""
        return True

    @property
    def purges(self) -> Purges:
        """The known purges."""
        return self._shared.purges

    @property
    def up(self) -> bool:
        """Whether the shared tier can be reached."""
        return self._shared.up

    @property
    def held(self) -> Held:
        """The contents of this process's memory."""
        return self._near.held

    async def get(self, key: str) -> Entry | None:
        """Return the entry from either tier."""
        near = self._near.peek(key)
        return near if near is not None else self._nearer(await self._shared.get(key))

    def put(self, entry: Entry, lease: Lease | None = None) -> None:
        """Store `entry` in memory now and in the shared tier in the background."""
        self._near.put(entry)
        self._shared.put(entry, lease)

    def discard(self, key: str) -> None:
        """Remove the entry of `key` from both tiers."""
        self._near.discard(key)
        self._shared.discard(key)

    async def acquire(self, key: str) -> Acquired:
        """Request the lease of `key`, and read the entry of other replicas."""
        lease, entry = await self._shared.acquire(key)
        return Acquired(lease, self._nearer(entry))

    def release(self, lease: Lease) -> None:
        """Release `lease`."""
        self._shared.release(lease)

    async def purge(self, tag: str) -> int:
        """Invalidate what is stored under `tag`; return how many processes were notified."""
        return await self._shared.purge(tag)

    async def open(self) -> None:
        """Connect the shared tier."""
        await self._shared.open()

    async def aclose(self) -> None:
        """Close both tiers."""
        await self._shared.aclose()
        await self._near.aclose()

    def _nearer(self, entry: Entry | None) -> Entry | None:
        """Store an entry of the shared tier in memory, and return the later one of both tiers."""
        if entry is None:
            return None
        near = self._near.peek(entry.key)
        if near is not None and near.stored_at >= entry.stored_at:
            return near
        self._near.put(entry)
        return entry
