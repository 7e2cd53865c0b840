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
from gateway.cache.keys import Keys
from gateway.errors import DeadlineExceeded, ErrorCode, UpstreamStatus
from gateway.events import Rejection

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.freshness import CachePolicy
    from gateway.cache.store import Lease, Store
    from gateway.call import Call, Clock, Layer, Request, Response, Sleep
    from gateway.events import Events

__all__ = ["fill"]

_FIRST_LOOK = 0.005
_LONGEST_LOOK = 0.025
_GROWTH = 1.5
_UNCACHEABLE = 1024


def fill(
    policy: CachePolicy | None,
    *,
    upstream: str,
    generation: bytes,
    store: Store,
    events: Events,
    now: Clock,
    clock: Clock,
    sleep: Sleep,
    random: Callable[[], float],
) -> Layer:
    """Return a layer that fetches under a lease and stores what may be stored.

    Args:
        policy: the upstream's freshness policy, the same as for `cache`.
        upstream: name of the upstream.
        generation: the same as for `cache`.
        store: holds answers and leases.
        events: receives rejections of callers whose deadline passed while they waited.
        now: POSIX seconds.
        clock: monotonic seconds, the clock of the deadlines.
        sleep: waits between polls.
        random: uniform in [0, 1).
    """
    keys = Keys(generation, upstream, policy)
    leases = _Leases(upstream, store, events, now, clock, sleep, random)

    def layer(call: Call) -> Call:
        return _Leased(call, policy, keys, leases).answer

    return layer


class _Leases:
    """Obtains for one upstream either the right to fetch or the entry of another replica."""

    __slots__ = ("clock", "events", "now", "random", "sleep", "store", "tag", "upstream")

    def __init__(
        self,
        upstream: str,
        store: Store,
        events: Events,
        now: Clock,
        clock: Clock,
        sleep: Sleep,
        random: Callable[[], float],
    ) -> None:
        self.upstream = upstream
        self.tag = f"upstream:{upstream}"
        self.store = store
        self.events = events
        self.now = now
        self.clock = clock
        self.sleep = sleep
        self.random = random

    async def obtain(self, key: str, request: Request) -> Lease | Entry:
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

    __slots__ = ("call", "key_of", "leases", "policy", "store", "uncacheable")

    def __init__(self, call: Call, policy: CachePolicy | None, keys: Keys, leases: _Leases) -> None:
        self.call = call
        self.policy = policy
        self.key_of = keys.of
        self.leases = leases
        self.store = leases.store
        # Keys whose last answer could not be stored: waiting for each other would gain nothing.
        self.uncacheable: dict[str, None] = {}

    async def answer(self, request: Request) -> Response:
        policy = request.cache
        if policy is None:
            policy = self.policy
        if policy is None or not request.safe or not policy.keeps:
            return await self.call(request)
        key = self.key_of(request)
        if not self.store.shared or key in self.uncacheable:
            return await self.fetch(key, request, policy, None)
        obtained = await self.leases.obtain(key, request)
        if isinstance(obtained, Entry):
            return obtained.serve(self.leases.upstream)
        return await self.fetch(key, request, policy, obtained)

    async def fetch(
        self, key: str, request: Request, policy: CachePolicy, held: Lease | None
    ) -> Response:
        leases, store = self.leases, self.store
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
