"""Fill: one replica at a time fetches an answer, and the cache stores it for all replicas.

It stands below `collapse`, so that one flight per process requests the lease. A replica that does
not get the lease polls every few milliseconds until it finds the stored answer, or the lease is
free: released after a failure, or expired because its holder is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cache.freshness import (
    NOT_FOUND,
    CacheState,
    Entry,
    keep,
    keep_negative,
    speaks_against_keeping,
)
from gateway.errors import DeadlineExceeded, ErrorCode, UpstreamStatus
from gateway.events import Rejection

if TYPE_CHECKING:
    from gateway.cache.store import Lease, Store
    from gateway.call import Call, Layer, Request, Response
    from gateway.layers.context import LayerContext

__all__ = ["fill"]

_FIRST_LOOK = 0.005
_LONGEST_LOOK = 0.025
_GROWTH = 1.5
_UNCACHEABLE = 1024


def fill(context: LayerContext, store: Store) -> Layer:
    """Return a layer that fetches under a lease and stores what may be stored.

    It does so for the requests to which the layer `cache` has given a key.

    Args:
        context: its events receive rejections of callers whose deadline passed while they waited.
        store: holds answers and leases, the same as for `cache`.
    """
    leases = _Leases(context, store)

    def layer(call: Call) -> Call:
        return _Leased(call, leases).answer

    return layer


class _Leases:
    """Obtains for one upstream either the right to fetch or the entry of another replica."""

    __slots__ = ("clock", "events", "now", "random", "sleep", "store", "tag", "upstream")

    def __init__(self, context: LayerContext, store: Store) -> None:
        self.upstream, self.events, self.clock, self.now, self.sleep, self.random, _ = context
        self.tag = f"upstream:{self.upstream}"
        self.store = store

    async def obtain(self, request: Request) -> Lease | Entry:
        key = request.key
        known = self.store.peek(key)
        pause = _FIRST_LOOK
        while True:
            held, entry = await self.store.acquire(key)
            if entry is not None and self.is_news(entry, known, request):
                if held is not None:
                    self.store.release(held)
                return entry
            if held is not None:
                return held
            if request.deadline.at <= self.clock():
                raise self.expired(request)
            await self.sleep(pause * (0.5 + self.random() / 2))
            pause = min(pause * _GROWTH, _LONGEST_LOOK)

    def is_news(self, entry: Entry, known: Entry | None, request: Request) -> bool:
        """Return whether `entry` makes the fetch unnecessary."""
        return (
            entry.fresh_until > self.now()
            and (known is None or entry.stored_at > known.stored_at)
            and not self.store.purges.cover(entry.mark, self.tag, entry.key, request.tags)
        )

    def expired(self, request: Request) -> DeadlineExceeded:
        if self.events.wants(Rejection):
            self.events.emit(
                Rejection(self.upstream, request.section, ErrorCode.DEADLINE_EXCEEDED, "lease")
            )
        return DeadlineExceeded(
            "the request's deadline passed while it waited for another replica",
            upstream=self.upstream,
        )


class _Leased:
    """A call whose answers are stored."""

    __slots__ = ("call", "leases", "store", "uncacheable")

    def __init__(self, call: Call, leases: _Leases) -> None:
        self.call = call
        self.leases = leases
        self.store = leases.store
        # Keys whose last answer could not be stored: waiting for each other would gain nothing.
        self.uncacheable: dict[str, None] = {}

    async def answer(self, request: Request) -> Response:
        if not request.key:
            return await self.call(request)
        if not self.store.shared or request.key in self.uncacheable:
            return await self.fetch(request, None)
        obtained = await self.leases.obtain(request)
        if isinstance(obtained, Entry):
            return obtained.serve(self.leases.upstream)
        return await self.fetch(request, obtained)

    async def fetch(self, request: Request, held: Lease | None) -> Response:
        leases, store = self.leases, self.store
        key, policy = request.key, request.cache
        mark, began = store.purges.latest, leases.clock()
        entry = None
        try:
            response = await self.call(request)
            now, cost = leases.now(), leases.clock() - began
            entry = keep(policy, key, response, now=now, cost=cost, mark=mark, random=leases.random)
        except UpstreamStatus as error:
            now, cost = leases.now(), leases.clock() - began
            if error.status == NOT_FOUND:
                entry = keep_negative(policy, key, now=now, cost=cost, mark=mark)
            if entry is None and speaks_against_keeping(error):
                store.discard(key)
            raise
        finally:
            # However it ends, cancellation included, no replica keeps waiting.
            if entry is not None:
                store.put(entry, held)
            elif held is not None:
                store.release(held)
        if entry is None:
            if key not in self.uncacheable:  # this answer invalidates the stored one
                store.discard(key)
            self.remember(key)
            return response.marked(CacheState.PASS)
        self.uncacheable.pop(key, None)
        return response.with_provenance(entry.provenance(CacheState.MISS))

    def remember(self, key: str) -> None:
        """Note that the answers for `key` must not be stored."""
        if len(self.uncacheable) >= _UNCACHEABLE:
            del self.uncacheable[next(iter(self.uncacheable))]
        self.uncacheable[key] = None
