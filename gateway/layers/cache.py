"""Cache: serves stored answers, as their freshness allows, before an upstream is called.

A hit in this process needs no await. A stale answer inside its window is served at once and
refreshed in the background; an older one is served only if a fetch fails. The layer `fill` fetches
and stores; `collapse` stands between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.cache.freshness import (
    CachePolicy,
    CacheState,
    Decision,
    decide,
    speaks_against_keeping,
)
from gateway.cache.keys import Keys
from gateway.errors import CallError
from gateway.events import Event

if TYPE_CHECKING:
    from gateway.cache.freshness import Entry
    from gateway.cache.refreshes import Refreshes
    from gateway.cache.store import Store
    from gateway.call import Call, Layer, Request, Response
    from gateway.layers.context import LayerContext

__all__ = ["CacheLookup", "CachePolicy", "cache"]


@dataclass(frozen=True, slots=True)
class CacheLookup(Event):
    """The cache served a request or passed it on; `result` is a value of `CacheState`."""

    result: str


def cache(
    policy: CachePolicy | None,
    context: LayerContext,
    *,
    generation: bytes,
    store: Store,
    refreshes: Refreshes,
) -> Layer:
    """Return a layer that answers from `store` where it may.

    Only safe requests are served from the store. A request's own policy overrides the upstream's.
    The layers below find the policy that applies, and the key of the stored answer, in the request.
    The layer raises the errors of the call where no stored answer may be served instead; a stored
    404 is raised as the original `UpstreamStatus`.

    Args:
        policy: the upstream's freshness policy; `None` caches only requests with their own policy.
        context: its events receive lookups; the upstream's name is part of the keys, and the tag
            `upstream:NAME` of purges.
        generation: changes whenever the upstream's configuration changes what it answers.
        store: holds the answers.
        refreshes: the background refreshes of this process.
    """
    keys = Keys(generation, context.upstream, policy)

    def layer(call: Call) -> Call:
        return _Cached(call, policy, context, keys, store, refreshes).answer

    return layer


class _Cached:
    """A call behind the cache."""

    __slots__ = (
        "call", "events", "key_of", "meter", "now", "peek", "policy", "purges", "random",
        "refreshes", "store", "tag", "upstream",
    )  # fmt: skip

    def __init__(
        self,
        call: Call,
        policy: CachePolicy | None,
        context: LayerContext,
        keys: Keys,
        store: Store,
        refreshes: Refreshes,
    ) -> None:
        self.call = call
        self.policy = policy
        self.key_of = keys.of
        self.upstream = context.upstream
        self.tag = f"upstream:{context.upstream}"
        self.store = store
        self.peek = store.peek
        self.purges = store.purges
        self.refreshes = refreshes
        self.events = context.events
        self.meter = context.meter
        self.now = context.now
        self.random = context.random

    async def answer(self, request: Request) -> Response:
        policy = request.cache
        if policy is None:
            policy = self.policy
        if policy is None or not request.safe or not policy.keeps:
            return await self.call(request)
        key = request.key = self.key_of(request)
        request.cache = policy
        entry = self.peek(key)
        if entry is None and self.store.shared:
            entry = await self.store.get(key)
        if entry is None or self.is_purged(entry, request):
            return await self.fetch(request, None)
        decision = decide(
            entry, self.now(), policy.early_refresh, self.random, min_fresh=request.min_fresh
        )
        if decision is Decision.FETCH:
            return await self.fetch(request, entry)
        if decision is not Decision.HIT:
            self.refreshes.start(key, self.call, request, self.upstream)
        if decision is Decision.STALE:
            self.emit(request, CacheState.STALE)
            return entry.serve_stale(self.upstream)
        self.emit(request, CacheState.HIT)
        return entry.serve(self.upstream)

    async def fetch(self, request: Request, entry: Entry | None) -> Response:
        """Call the next layer; if that fails, `entry` may be served instead."""
        try:
            response = await self.call(request)
        except CallError as error:
            if entry is None or not self.stands_in(entry, request, error):
                self.emit(request, CacheState.PASS)
                raise
            self.emit(request, CacheState.STALE)
            return entry.serve_stale(self.upstream, error)
        if entry is not None and response.provenance.cache == CacheState.MISS:
            response = response.marked(CacheState.EXPIRED)
        self.emit(request, response.provenance.cache)
        return response

    def is_purged(self, entry: Entry, request: Request) -> bool:
        """Return whether a purge covers `entry`."""
        return entry.mark < self.purges.latest and self.purges.cover(
            entry.mark, self.tag, entry.key, request.tags
        )

    def stands_in(self, entry: Entry, request: Request, error: CallError) -> bool:
        """Return whether `entry` may be served instead of `error` (RFC 5861 section 4)."""
        return (
            self.now() < entry.error_until
            and not speaks_against_keeping(error)
            and not self.is_purged(entry, request)  # it may have been purged during the call
        )

    def emit(self, request: Request, result: str) -> None:
        self.meter.looked_up(result)
        if self.events.wants(CacheLookup):
            self.events.emit(CacheLookup(self.upstream, request.section, result))
