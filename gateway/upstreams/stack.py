"""The upstream stack, written once, top to bottom: the table of contents of the gateway."""

from __future__ import annotations

import asyncio
import random as randomness
import time
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from gateway.call import stack
from gateway.layers.breaker import breaker
from gateway.layers.budget import Budget, BudgetPolicy
from gateway.layers.cache import cache
from gateway.layers.collapse import CollapsePolicy, Flights, collapse
from gateway.layers.concurrency import ConcurrencyPolicy, concurrency
from gateway.layers.cooldown import cooldown
from gateway.layers.deadline import deadline
from gateway.layers.fill import fill
from gateway.layers.hedge import hedge
from gateway.layers.observe import observe
from gateway.layers.retry import retry
from gateway.layers.timeout import TimeoutPolicy, timeout
from gateway.upstreams.kind import Environment
from gateway.upstreams.kinds import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.cache.refreshes import Refreshes
    from gateway.cache.store import Store
    from gateway.call import Call, Clock, Request, Sleep
    from gateway.config.models import UpstreamConfig
    from gateway.events import Events
    from gateway.offload import Offload
    from gateway.transport import Objections
    from gateway.upstreams.kind import Wire

__all__ = ["Shared", "Upstream", "open_upstream"]


class Shared(NamedTuple):
    """What all upstreams of one application share.

    Attributes:
        store: where answers are kept.
        refreshes: refreshes beside the answer.
        events: who is told what happens.
        clock: monotonic seconds.
        now: POSIX seconds.
        sleep: waits between attempts.
        random: uniform in [0, 1).
        objections: what a test's mock objects to; `None` where no test asks.
        offload: where large answers are decoded; on the event loop without it.
    """

    store: Store
    refreshes: Refreshes
    events: Events
    clock: Clock = time.monotonic
    now: Clock = time.time
    sleep: Sleep = asyncio.sleep
    random: Callable[[], float] = randomness.random
    objections: Objections | None = None
    offload: Offload | None = None


class _Named(TypedDict):
    """What most layers are told alike."""

    upstream: str
    events: Events
    clock: Clock


class Upstream:
    """A name and its stacked Call.

    Attributes:
        call: asks the upstream, through every layer that is configured.
        direct: the same without any layer but the timeout, for `gateway probe`.
        forward: header fields of the client's request that are part of its calls, in lower case.
        ping: the operation that shows whether the upstream is there.
        propagate: those that are passed on with its calls and tell no two of them apart.
    """

    __slots__ = ("_flights", "_wire", "call", "direct", "forward", "name", "ping", "propagate")

    def __init__(self, name: str, call: Call, direct: Call, wire: Wire, flights: Flights) -> None:
        self.name = name
        self.call = call
        self.direct = direct
        self.forward = wire.forward
        self.propagate = wire.propagate
        self.ping = wire.ping
        self._wire = wire
        self._flights = flights

    @property
    def busy(self) -> bool:
        """Whether a flight is under way, which may outlive its callers."""
        return len(self._flights) > 0

    async def aclose(self) -> None:
        """End what is under way and close every connection."""
        await self._flights.aclose()
        await self._wire.aclose()


def open_upstream(
    name: str, config: UpstreamConfig, shared: Shared, *, cached: bool = False
) -> Upstream:
    """Stack the Call of one upstream; connects to nothing yet.

    Args:
        name: name of the upstream.
        config: its declaration.
        shared: what all upstreams share.
        cached: a section keeps answers of this upstream by a policy of its own.
    """
    events, clock, random = shared.events, shared.clock, shared.random
    wire = kind_of(config).open(
        name, config, Environment(clock, shared.now, shared.objections, shared.offload)
    )
    named: _Named = {"upstream": name, "events": events, "clock": clock}
    budget = Budget(config.retry.budget if config.retry else BudgetPolicy(), clock)
    flights = Flights()
    permits = ConcurrencyPolicy(
        concurrency=config.concurrency, queue=config.queue, queue_timeout=config.queue_timeout
    )
    patience = timeout(TimeoutPolicy(after=config.timeout), upstream=name, clock=clock)
    keeps = cached or config.cache is not None
    purges = shared.store.purges

    def flown_for(request: Request) -> Hashable:
        # Policies live as long as their plans: their identity tells them apart.
        return purges.latest, id(request.cache), request.identity

    call = stack(
        wire.call,
        # A hit costs nothing further down, and the cache sees the final failure of all below.
        cache(config.cache, generation=wire.generation, store=shared.store,
              refreshes=shared.refreshes, now=shared.now, random=random, **named)
        if keeps else None,
        # One flight for many callers; it outlives its first caller's cancellation.
        # A purge lands between two flights: who asks after it joins none that began before it.
        collapse(CollapsePolicy(), flights=flights, key=flown_for, **named) if keeps else None,
        # One fetch for many replicas; what it brings is kept for all of them.
        fill(config.cache, generation=wire.generation, store=shared.store, now=shared.now,
              sleep=shared.sleep, random=random, **named)
        if keeps else None,
        # Everything below spends what remains of the request's time.
        deadline(**named),
        # Repeats, within a budget; it holds no permit while it waits.
        retry(config.retry, budget=budget, sleep=shared.sleep, random=random, **named)
        if config.retry else None,
        # A second attempt beside a slow one, from the same budget.
        hedge(config.hedge, budget=budget if config.retry else None, **named)
        if config.hedge else None,
        # Every attempt counts, so it opens at the pace at which the upstream fails.
        breaker(config.breaker, random=random, **named) if config.breaker else None,
        # What the upstream asked for by Retry-After holds for every call, not only for this one.
        cooldown(config.cool_down, **named) if config.cool_down else None,
        # Waiting for a permit is charged to the deadline, not to the upstream's timeout.
        concurrency(permits, **named),
        # Attempts as they end, timeouts among them: told to whoever listens.
        observe(**named),
        # One attempt, from sending to the last byte.
        patience,
    )  # fmt: skip
    return Upstream(name, call, stack(wire.call, patience), wire, flights)
