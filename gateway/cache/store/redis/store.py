"""The shared store: Redis, which may be slow, full, read-only or unreachable at any time."""

from __future__ import annotations

import asyncio
import logging
import random as randomness
import time
from typing import TYPE_CHECKING, Any

from gateway.aio.batching import Batcher
from gateway.cache.store.purges import Purges
from gateway.cache.store.redis.connection import Connection
from gateway.cache.store.redis.envelope import open_envelope, seal
from gateway.cache.store.redis.leases import Leases
from gateway.cache.store.redis.purge_feed import PurgeFeed
from gateway.cache.store.redis.write_behind import WriteBehind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.cache.freshness import Entry
    from gateway.cache.store.base import Acquired, Lease
    from gateway.cache.store.redis.commands import Commands
    from gateway.cache.store.redis.url import Client
    from gateway.call import Clock, Sleep
    from gateway.events import Events

__all__ = ["RedisStore"]

_log = logging.getLogger("gateway.store")

_PURGE_PATIENCE = 0.25
_CLOSE_PATIENCE = 1.0


class RedisStore:
    """Entries, leases and purges in Redis.

    Args:
        connect: creates a client, which connects at its first use.
        events: receives changes of the state and refused writes.
        namespace: prefix of every key.
        purges: the known purges, shared with the tier in this process.
        timeout: maximum seconds that a caller waits for the server.
        lease: seconds after which a lease expires that is not renewed.
        max_entry: maximum bytes of a payload; larger ones are stored in this process only.
        clock: monotonic seconds.
        now: POSIX seconds.
        sleep: waits between probes.
        random: uniform in [0, 1).
    """

    __slots__ = ("_leases", "_link", "_max_entry", "_now", "_reading", "_reads", "_seen",
                 "_timeout", "_unpublished", "_watch", "_writes", "purges")  # fmt: skip

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        events: Events,
        namespace: str = "gateway",
        purges: Purges | None = None,
        timeout: float = 0.04,
        lease: float = 1.0,
        max_entry: int = 1024 * 1024,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self.purges = purges if purges is not None else Purges()
        self._max_entry = max_entry
        self._timeout = timeout
        self._now = now
        self._link = Connection(
            connect, namespace=namespace, linked=self._linked, events=events, clock=clock,
            sleep=sleep, random=random,
        )  # fmt: skip
        self._writes = WriteBehind(self._link)
        self._leases = Leases(
            self._link, self._writes, self._opened, seconds=lease, patience=timeout, clock=clock
        )
        self._reads: Batcher[str, Entry | None] = Batcher(self._read, None)
        self._reading: dict[str, asyncio.Future[Entry | None]] = {}
        self._watch = PurgeFeed(self.purges, self._look, sleep)
        self._unpublished: dict[str, int] = {}
        self._seen = 0

    @property
    def shared(self) -> bool:
        """Always true: other replicas see it."""
        return True

    @property
    def up(self) -> bool:
        """Whether the server can be used."""
        return self._link.up

    async def open(self) -> None:
        """Connect within a second; if that fails, retry in the background."""
        await self._link.open()

    async def aclose(self) -> None:
        """Finish pending writes within a second, and close every connection."""
        if self.up:
            try:
                await asyncio.wait_for(self._writes.drain(), _CLOSE_PATIENCE)
            except TimeoutError:
                _log.warning("some entries were not written: the shared store is too slow")
        await self._watch.aclose()
        for part in (self._leases, self._reads, self._writes, self._link):
            await part.aclose()

    async def get(self, key: str) -> Entry | None:
        """Return the entry of `key`; all calls of one loop iteration share one MGET."""
        if not self._link.up:
            return None
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = self._reads.submit(key)
            reading.add_done_callback(lambda _: self._reading.pop(key))
        return await asyncio.shield(reading)

    def put(self, entry: Entry, lease: Lease | None = None) -> None:
        """Write `entry` in the background, unless the lease is lost or too many writes wait."""
        size = len(entry.body)
        if size > self._max_entry:
            if lease is not None:
                self._leases.release(lease)
            return
        token = self._leases.let_go(lease) if lease is not None else b""

        async def write(store: Commands) -> None:
            left = max(entry.useful_until - self._now(), 0.001)
            if token:
                await store.keep(entry.key, token, seal(entry), int(left * 1000) or 1)
            else:  # no server was usable when the lease was requested
                await store.set(entry.key, seal(entry), ttl=left)

        self._writes.submit(write, size)

    def discard(self, key: str) -> None:
        """Delete the entry of `key` in the background."""
        self._writes.submit(lambda store: store.delete(key))

    async def acquire(self, key: str) -> Acquired:
        """Request the lease of `key`, and read its current entry."""
        return await self._leases.acquire(key)

    def release(self, lease: Lease) -> None:
        """Release `lease` in the background."""
        self._leases.release(lease)

    async def purge(self, tag: str) -> int:
        """Invalidate what is stored under `tag`; return how many processes were notified."""
        notified = await self._publish(tag)
        if notified is None:
            least = self.purges.latest + 1
            mark = self._unpublished[tag] = max(int(self._now() * 1000), least)
            self.purges.add(tag, mark)
            return 1
        return max(notified, 1)

    async def _publish(self, tag: str) -> int | None:
        """Publish a purge of `tag` to all replicas; `None` when the server cannot be used.

        Returns:
            The number of processes notified.
        """
        if not self._link.writable:
            return None
        least = self.purges.latest + 1
        drawn = await self._link.ask(lambda store: store.purge(tag, least), _PURGE_PATIENCE)
        if drawn is None:
            return None
        mark, notified = drawn
        self.purges.add(tag, mark)
        return notified

    async def _read(self, keys: list[str]) -> Sequence[Entry | None]:
        values = await self._link.ask(lambda store: store.multi_get(keys), self._timeout)
        return [self._opened(key, data) for key, data in zip(keys, values or (), strict=False)]

    def _opened(self, key: str, data: Any) -> Entry | None:
        """Return the entry in `data`; delete an invalid one."""
        if data is None:
            return None
        entry = open_envelope(key, data, self._now()) if isinstance(data, bytes) else None
        if entry is None:
            _log.warning("the shared store had an invalid entry under %s; it is deleted", key)
            self.discard(key)
        return entry

    def _linked(self, store: Commands, *, again: bool) -> None:
        if again:
            self._leases.doubt()
        self._watch.start(store)

    async def _look(self) -> None:
        """Poll for missed purges, and publish those that could not be published before."""
        for tag, mark in list(self._unpublished.items()):
            # Removed only once it is published, and only if it is still the last one of its tag:
            # publishing may fail or be cancelled, and the tag may be purged again meanwhile.
            if await self._publish(tag) is not None and self._unpublished.get(tag) == mark:
                del self._unpublished[tag]
        latest = await self._link.ask(lambda store: store.latest_mark(), self._timeout)
        # `purges.latest` is not enough: a purge by this process, or one received by pub/sub, may be
        # later than missed ones.
        if latest is not None and latest != self._seen:
            marks = await self._link.ask(lambda store: store.marks(), _PURGE_PATIENCE)
            if marks is not None:
                self.purges.merge(marks)
                self._seen = latest
