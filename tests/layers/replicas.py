"""Replicas that share a store, all in one process on virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.cache.freshness import CachePolicy, Entry
from gateway.cache.refreshes import Refreshes
from gateway.cache.store import Acquired, Held, Lease, MemoryStore, Purges
from gateway.call import Deadline, Request, stack
from gateway.events import Event, Events
from gateway.layers.cache import cache
from gateway.layers.collapse import CollapsePolicy, Flights, collapse
from gateway.layers.fill import fill
from gateway.upstreams.http.operation import HttpOperation
from tests.layers.fakes import context
from tests.virtual_time import loop_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.cache.store import Store
    from gateway.call import Call

LATENCY = 0.001
PATIENCE = 600.0  # for a refresh; a busy machine must not end one
LEASE = 1.0


class Server:
    """What a shared store holds: entries, and leases with the moment at which they end."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.leases: dict[str, tuple[Lease, float]] = {}


class FakeShared:
    """A store in this process in front of a `Server`."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.near = MemoryStore(now=loop_time)
        self.up = True
        self.gets = 0
        self.acquired = 0

    shared = True

    @property
    def purges(self) -> Purges:
        return self.near.purges

    @property
    def held(self) -> Held:
        return self.near.held

    def peek(self, key: str) -> Entry | None:
        return self.near.peek(key)

    async def get(self, key: str) -> Entry | None:
        self.gets += 1
        await asyncio.sleep(LATENCY)
        return self.nearer(self.server.entries.get(key)) if self.up else None

    def nearer(self, entry: Entry | None) -> Entry | None:
        if entry is not None:
            self.near.put(entry)
        return entry

    def put(self, entry: Entry, held: Lease | None = None) -> None:
        self.near.put(entry)
        if self.up and (held is None or not held.token or self.holds(held)):
            self.server.entries[entry.key] = entry
            self.server.leases.pop(entry.key, None)

    def holds(self, held: Lease) -> bool:
        of, _ = self.server.leases.get(held.key, (None, 0.0))
        return of is held

    def discard(self, key: str) -> None:
        self.near.discard(key)
        self.server.entries.pop(key, None)

    async def acquire(self, key: str) -> Acquired:
        self.acquired += 1
        if not self.up:
            return Acquired(Lease(key), None)
        await asyncio.sleep(LATENCY)
        found = self.nearer(self.server.entries.get(key))
        _, ends = self.server.leases.get(key, (None, 0.0))
        if ends > loop_time():
            return Acquired(None, found)
        held = Lease(key, b"token")
        self.server.leases[key] = (held, loop_time() + LEASE)
        return Acquired(held, found)

    def release(self, held: Lease) -> None:
        if self.holds(held):
            del self.server.leases[held.key]

    async def purge(self, tag: str) -> int:
        return await self.near.purge(tag)

    async def open(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


class Replica:
    """One process: the layers of the cache around an upstream."""

    def __init__(
        self,
        upstream: Call,
        policy: CachePolicy | None,
        store: Store | None = None,
        *,
        random: Callable[[], float] = lambda: 0.0,
        refreshes: int = 64,
        collapsed: bool = True,
        generation: bytes = b"1",
    ) -> None:
        self.heard: list[Event] = []
        events = Events([self.heard.append])
        self.store: Any = store or MemoryStore(now=loop_time)
        self.refreshes = Refreshes(
            events=events, clock=loop_time, limit=refreshes, patience=PATIENCE
        )
        self.flights = Flights()
        own = context(events, random)
        self.call = stack(
            upstream,
            cache(policy, own, generation=generation, store=self.store, refreshes=self.refreshes),
            collapse(CollapsePolicy(), own, self.flights) if collapsed else None,
            fill(own, self.store),
        )

    async def get(
        self,
        target: str = "/",
        seconds: float = 10.0,
        *,
        method: str = "GET",
        headers: Sequence[tuple[bytes, bytes]] = (),
        **options: Any,
    ) -> Any:
        operation = HttpOperation(target, method, headers)
        return await self.call(
            Request(operation, Deadline(loop_time() + seconds), "section", **options)
        )

    def results(self) -> list[str]:
        """What the cache did, lookup by lookup."""
        return [event.result for event in self.heard if hasattr(event, "result")]
