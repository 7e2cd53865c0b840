"""The tier that replicas share: Redis, which may be slow, full, read-only or gone at any time."""

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
        connect: makes a client; nothing connects before it is used.
        events: where ups, downs and refusals are told.
        namespace: prefix of every key.
        purges: what has been declared outdated, shared with the tier in this process.
        timeout: seconds that a caller waits for the server at most.
        lease: seconds after which a lease ends whose holder shows no life.
        max_entry: bytes of the largest payload that is written; larger ones stay in this process.
        clock: monotonic seconds.
        now: POSIX seconds.
        sleep: waits between probes.
        random: uniform in [0, 1).
    """

    __slots__ = ("_leases", "_link", "_max_entry", "_now", "_reading", "_reads", "_seen",
                 "_timeout", "_untold", "_watch", "_writes", "purges")  # fmt: skip

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
        self._untold: dict[str, int] = {}
        self._seen = 0

    @property
    def shared(self) -> bool:
        """Other replicas see it."""
        return True

    @property
    def up(self) -> bool:
        """Whether the server can be asked."""
        return self._link.up

    async def open(self) -> None:
        """Connect, within a second; a server that is not there is tried again in the background."""
        await self._link.open()

    async def aclose(self) -> None:
        """Finish what is being written, within a second, and close every connection."""
        if self.up:
            try:
                await asyncio.wait_for(self._writes.drain(), _CLOSE_PATIENCE)
            except TimeoutError:
                _log.warning("entries were not shared: the store takes too long to write")
        await self._watch.aclose()
        for part in (self._leases, self._reads, self._writes, self._link):
            await part.aclose()

    async def get(self, key: str) -> Entry | None:
        """Return what is kept under `key`; one MGET serves all who ask in one turn of the loop."""
        if not self._link.up:
            return None
        reading = self._reading.get(key)
        if reading is None:
            reading = self._reading[key] = self._reads.submit(key)
            reading.add_done_callback(lambda _: self._reading.pop(key))
        return await asyncio.shield(reading)

    def put(self, entry: Entry, lease: Lease | None = None) -> None:
        """Write `entry` beside; not when the lease has gone to another, nor when too much waits."""
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
            else:  # there was no server to ask for a lease
                await store.set(entry.key, seal(entry), ttl=left)

        self._writes.submit(write, size)

    def discard(self, key: str) -> None:
        """Delete what is kept under `key`, beside."""
        self._writes.submit(lambda store: store.delete(key))

    async def acquire(self, key: str) -> Acquired:
        """Ask for the lease of `key`, and for what is kept there by now."""
        return await self._leases.acquire(key)

    def release(self, lease: Lease) -> None:
        """Give `lease` back, beside."""
        self._leases.release(lease)

    async def purge(self, tag: str) -> int:
        """Declare what is kept under `tag` outdated; return how many processes were told."""
        told = await self._publish(tag)
        if told is None:
            least = self.purges.latest + 1
            mark = self._untold[tag] = max(int(self._now() * 1000), least)
            self.purges.add(tag, mark)
            return 1
        return max(told, 1)

    async def _publish(self, tag: str) -> int | None:
        """Draw a mark for `tag` that all replicas learn of; `None` when the server cannot be asked.

        Returns:
            How many processes were told.
        """
        if not self._link.writable:
            return None
        least = self.purges.latest + 1
        drawn = await self._link.ask(lambda store: store.purge(tag, least), _PURGE_PATIENCE)
        if drawn is None:
            return None
        mark, told = drawn
        self.purges.add(tag, mark)
        return told

    async def _read(self, keys: list[str]) -> Sequence[Entry | None]:
        values = await self._link.ask(lambda store: store.multi_get(keys), self._timeout)
        return [self._opened(key, data) for key, data in zip(keys, values or (), strict=False)]

    def _opened(self, key: str, data: Any) -> Entry | None:
        """Return the entry in `data`; what is there and is none is deleted."""
        if data is None:
            return None
        entry = open_envelope(key, data, self._now()) if isinstance(data, bytes) else None
        if entry is None:
            _log.warning("what was kept under %s is no entry and is deleted", key)
            self.discard(key)
        return entry

    def _linked(self, store: Commands, *, again: bool) -> None:
        if again:
            self._leases.doubt()
        self._watch.start(store)

    async def _look(self) -> None:
        """Learn of purges that were missed, and publish those that could not be."""
        for tag, mark in list(self._untold.items()):
            # Forgotten only once it is published, and only if it is still the last one of its tag:
            # this may fail or be cancelled, and meanwhile the tag may be purged again.
            if await self._publish(tag) is not None and self._untold.get(tag) == mark:
                del self._untold[tag]
        latest = await self._link.ask(lambda store: store.latest_mark(), self._timeout)
        # Not to be told by `purges.latest`: a purge of our own, or one that was heard of, may be
        # later than others that were missed.
        if latest is not None and latest != self._seen:
            marks = await self._link.ask(lambda store: store.marks(), _PURGE_PATIENCE)
            if marks is not None:
                self.purges.merge(marks)
                self._seen = latest
