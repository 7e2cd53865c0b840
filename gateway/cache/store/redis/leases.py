"""Leases: one replica fetches, the others wait for its answer (memcache at Facebook, 2013).

A lease expires within a second unless its holder renews it, which it does for as long as the fetch
lasts. So no replica waits long for one that died, and none overtakes a slow one.

After a lost connection to the server is restored, its leases are in doubt for as long as one can
last: their holders may have dropped them, or may not know that they hold them. Replicas do not wait
for these.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from gateway.aio.batching import Batcher
from gateway.cache.store.base import Acquired, Lease

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.cache.freshness import Entry
    from gateway.cache.store.redis.commands import Commands
    from gateway.cache.store.redis.connection import Connection
    from gateway.cache.store.redis.write_behind import WriteBehind
    from gateway.call import Clock

__all__ = ["Leases"]

_LONGEST = 30.0
_RENEWALS = 3


class Leases:
    """Acquires leases, many in one round trip, and renews those that it holds.

    Args:
        link: the connection to the server.
        writes: the queue of background writes.
        opened: reads an entry from stored bytes, and deletes an invalid one.
        seconds: time after which a lease expires that is not renewed.
        patience: maximum seconds that a caller waits for the server.
        clock: monotonic seconds.
    """

    __slots__ = ("_batches", "_clock", "_doubtful_until", "_held", "_link", "_opened",
                 "_patience", "_seconds", "_writes")  # fmt: skip

    def __init__(
        self,
        link: Connection,
        writes: WriteBehind,
        opened: Callable[[str, Any], Entry | None],
        *,
        seconds: float,
        patience: float,
        clock: Clock,
    ) -> None:
        self._link = link
        self._writes = writes
        self._opened = opened
        self._seconds = seconds
        self._patience = patience
        self._clock = clock
        self._held: set[Lease] = set()
        self._doubtful_until = 0.0
        self._batches: Batcher[Lease, Acquired | None] = Batcher(self._take, None)

    async def acquire(self, key: str) -> Acquired:
        """Request the lease of `key`. Without a usable server every request is granted."""
        if not self._link.writable:
            return Acquired(Lease(key), None)
        lease = Lease(key, secrets.token_bytes(12), self._clock() + _LONGEST)
        pending = self._batches.submit(lease)
        try:
            acquired = await asyncio.shield(pending)
        except asyncio.CancelledError:
            pending.add_done_callback(self._unwanted)
            raise
        if acquired is None:
            return Acquired(Lease(key), None)
        if acquired.lease is not None and acquired.lease.token:
            self._hold(acquired.lease)
        return acquired

    def doubt(self) -> None:
        """Do not wait for leases that may be older than this moment."""
        self._doubtful_until = self._clock() + self._seconds

    def let_go(self, lease: Lease) -> bytes:
        """Stop renewing `lease`; return its token."""
        self._held.discard(lease)
        lease.stop()
        return lease.token

    def release(self, lease: Lease) -> None:
        """Release `lease` in the background."""
        token = self.let_go(lease)
        if token:
            self._writes.submit(lambda store: store.release(lease.key, token))

    async def aclose(self) -> None:
        """Stop renewing all leases."""
        for lease in list(self._held):
            self.let_go(lease)
        await self._batches.aclose()

    def _hold(self, lease: Lease) -> None:
        self._held.add(lease)
        loop = asyncio.get_running_loop()
        lease.timer = loop.call_later(self._seconds / _RENEWALS, self._renew, lease)

    def _renew(self, lease: Lease) -> None:
        if self._clock() >= lease.ends:
            self._held.discard(lease)
            return
        milliseconds = int(self._seconds * 1000)
        self._writes.submit(lambda store: store.renew(lease.key, lease.token, milliseconds))
        self._hold(lease)

    def _unwanted(self, pending: asyncio.Future[Acquired | None]) -> None:
        acquired = pending.result()
        if acquired is not None and acquired.lease is not None:
            self.release(acquired.lease)

    async def _take(self, leases: list[Lease]) -> Sequence[Acquired | None]:
        async def take(store: Commands) -> list[Any]:
            collected = store.collected()
            for lease in leases:
                await collected.take(lease.key, lease.token, int(self._seconds * 1000))
            return await collected.execute()

        answers = await self._link.ask(take, self._patience)
        if answers is None:
            return ()
        triples = zip(answers[::3], answers[1::3], answers[2::3], strict=True)
        return [self._taken(lease, *triple) for lease, triple in zip(leases, triples, strict=True)]

    def _taken(self, lease: Lease, free: Any, data: Any, left: Any) -> Acquired:
        entry = self._opened(lease.key, data)
        if isinstance(free, Exception):
            self._link.judge(free)
            return Acquired(Lease(lease.key), entry)
        if free:
            return Acquired(lease, entry)
        if isinstance(left, Exception) or left == -1:
            # Leases always have an expiry; one without would block all replicas for ever.
            self._writes.submit(lambda store: store.break_lease(lease.key))
        if self._clock() < self._doubtful_until:
            return Acquired(Lease(lease.key), entry)
        return Acquired(None, entry)
