"""Cache: serve what is kept, as its freshness allows, before anything else is tried.

A hit in this process costs no await. What is stale but inside its window is served at once and
asked for again beside; what is older is asked for first and served when that fails. Fetching and
keeping are done by the layer `lease` below; between the two stands `collapse`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.cache.freshness import (
    CachePolicy,
    CacheState,
    Decision,
    decide,
    marked,
    speaks_against_keeping,
)
from gateway.cache.keys import Keys
from gateway.errors import CallError
from gateway.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.freshness import Entry
    from gateway.cache.refreshes import Refreshes
    from gateway.cache.store import Store
    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["CacheLookup", "CachePolicy", "cache"]


@dataclass(frozen=True, slots=True)
class CacheLookup(Event):
    """The cache has served a request or let it through; `result` is a word of `CacheState`."""

    result: str


def cache(
    policy: CachePolicy | None,
    *,
    upstream: str,
    generation: bytes,
    store: Store,
    refreshes: Refreshes,
    events: Events,
    now: Clock,
    random: Callable[[], float],
    clock: Clock | None = None,  # noqa: ARG001 - makers of layers are given the same names
) -> Layer:
    """Return a layer that answers from `store` where it may.

    Only a safe request is answered so. A request's own policy goes before the upstream's. Errors:
    those of the call, where no stored answer may stand in; a stored 404 is raised as the
    `UpstreamStatus` it was.

    Args:
        policy: the upstream's freshness; `None` keeps only what requests have a policy for.
        upstream: its name, for events, errors, keys, and as the tag `upstream:NAME` of purges.
        generation: changes whenever the upstream's configuration changes what it answers.
        store: where answers are kept.
        refreshes: those of this process.
        events: where lookups are told.
        now: POSIX seconds.
        random: uniform in [0, 1).
        clock: not needed.
    """
    keys = Keys(generation, upstream, policy)

    def layer(call: Call) -> Call:
        return _Cached(call, policy, keys, upstream, store, refreshes, events, now, random).answer

    return layer


class _Cached:
    """A call behind the cache."""

    __slots__ = (
        "call", "events", "key_of", "now", "peek", "policy", "purges", "random",
        "refreshes", "store", "tag", "upstream",
    )  # fmt: skip

    def __init__(
        self,
        call: Call,
        policy: CachePolicy | None,
        keys: Keys,
        upstream: str,
        store: Store,
        refreshes: Refreshes,
        events: Events,
        now: Clock,
        random: Callable[[], float],
    ) -> None:
        self.call = call
        self.policy = policy
        self.key_of = keys.of
        self.upstream = upstream
        self.tag = f"upstream:{upstream}"
        self.store = store
        self.peek = store.peek
        self.purges = store.purges
        self.refreshes = refreshes
        self.events = events
        self.now = now
        self.random = random

    async def answer(self, request: Request) -> Response:
        policy = request.cache
        if policy is None:
            policy = self.policy
        if policy is None or not request.safe or not policy.keeps:
            return await self.call(request)
        key = self.key_of(request)
        entry = self.peek(key)
        if entry is None and self.store.shared:
            entry = await self.store.get(key)
        if entry is None or (
            entry.mark < self.purges.latest
            and self.purges.cover(entry.mark, self.tag, key, request.tags)
        ):
            return await self.fetch(request, None)
        decision = decide(
            entry, self.now(), policy.early_refresh, self.random, min_fresh=request.min_fresh
        )
        if decision is Decision.FETCH:
            return await self.fetch(request, entry)
        if decision is not Decision.HIT:
            self.refreshes.start(key, self.call, request, self.upstream)
        if decision is Decision.STALE:
            self.tell(request, CacheState.STALE)
            return entry.serve_stale(self.upstream)
        if self.events.wants(CacheLookup):
            self.tell(request, CacheState.HIT)
        return entry.serve(self.upstream)

    async def fetch(self, request: Request, entry: Entry | None) -> Response:
        """Ask further down; where that fails, `entry` may stand in."""
        try:
            response = await self.call(request)
        except CallError as error:
            if entry is None or not self.stands_in(entry, error):
                self.tell(request, CacheState.PASS)
                raise
            self.tell(request, CacheState.STALE)
            return entry.serve_stale(self.upstream, error)
        if entry is not None and response.cache == CacheState.MISS:
            response = marked(response, CacheState.EXPIRED)
        self.tell(request, response.cache)
        return response

    def stands_in(self, entry: Entry, error: CallError) -> bool:
        """Whether `entry` may be served in place of `error` (RFC 5861 section 4)."""
        return self.now() < entry.error_until and not speaks_against_keeping(error)

    def tell(self, request: Request, result: str) -> None:
        if self.events.wants(CacheLookup):
            self.events.emit(CacheLookup(self.upstream, request.section, result))
