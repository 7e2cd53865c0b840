"""Lease: of all replicas one fetches, and what it brings is kept for all.

Stands below `collapse`, so that of each process one flight asks for the lease. Whoever does not get
it looks again every few milliseconds, until it finds what the holder has brought, or the lease is
free: given back after a failure, or run out because its holder is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cache.freshness import (
    NOT_FOUND,
    CacheState,
    Entry,
    keep,
    keep_negative,
    marked,
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
_UNKEPT = 1024


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
    """Return a layer that fetches under a lease and keeps what may be kept.

    Args:
        policy: the upstream's freshness, the same as that of `cache`.
        upstream: its name.
        generation: the same as that of `cache`.
        store: where answers are kept and leases are held.
        events: where those whose time ran out while they waited are told.
        now: POSIX seconds.
        clock: monotonic seconds, that of the deadlines.
        sleep: waits between looks.
        random: uniform in [0, 1).
    """
    keys = Keys(generation, upstream, policy)
    leases = _Leases(upstream, store, events, now, clock, sleep, random)

    def layer(call: Call) -> Call:
        return _Leased(call, policy, keys, leases).answer

    return layer


class _Leases:
    """Obtains for one upstream either the right to fetch or what another replica has brought."""

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
        """Whether `entry` is what the fetch would have been for."""
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
            "the time was spent waiting for another replica", upstream=self.upstream
        )


class _Leased:
    """A call whose answers are kept."""

    __slots__ = ("call", "key_of", "leases", "policy", "store", "unkept")

    def __init__(self, call: Call, policy: CachePolicy | None, keys: Keys, leases: _Leases) -> None:
        self.call = call
        self.policy = policy
        self.key_of = keys.of
        self.leases = leases
        self.store = leases.store
        # What could not be kept the last time: to wait for one another would gain nothing.
        self.unkept: dict[str, None] = {}

    async def answer(self, request: Request) -> Response:
        policy = request.cache
        if policy is None:
            policy = self.policy
        if policy is None or not request.safe or not policy.keeps:
            return await self.call(request)
        key = self.key_of(request)
        if not self.store.shared or key in self.unkept:
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
            # Whichever way it ends, cancellation included, nobody is left waiting.
            if entry is not None:
                store.put(entry, held)
            elif held is not None:
                store.release(held)
        if entry is None:
            if key not in self.unkept:  # what was kept before is outdated by this
                store.discard(key)
            self.remember(key)
            return marked(response, CacheState.PASS)
        self.unkept.pop(key, None)
        fetched = marked(response, CacheState.MISS)
        fetched.as_of = entry.as_of
        fetched.fresh_until = entry.fresh_until
        fetched.restrictions = entry.restrictions
        return fetched

    def remember(self, key: str) -> None:
        """Note that what answers `key` is not to be kept."""
        if len(self.unkept) >= _UNKEPT:
            del self.unkept[next(iter(self.unkept))]
        self.unkept[key] = None
