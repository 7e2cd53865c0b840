"""The stack of layers around an upstream's call, from top to bottom."""

from __future__ import annotations

import asyncio
import random as randomness
import time
from typing import TYPE_CHECKING, NamedTuple

from gateway.call import stack
from gateway.layers.breaker import breaker
from gateway.layers.budget import Budget
from gateway.layers.cache import cache
from gateway.layers.collapse import CollapsePolicy, Flights, collapse
from gateway.layers.concurrency import concurrency
from gateway.layers.context import LayerContext
from gateway.layers.cooldown import cooldown
from gateway.layers.deadline import deadline
from gateway.layers.fill import fill
from gateway.layers.hedge import hedge
from gateway.layers.meter import UpstreamMeter
from gateway.layers.observe import observe
from gateway.layers.retry import retry
from gateway.layers.timeout import timeout
from gateway.upstreams.kind import Environment
from gateway.upstreams.kinds import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, MutableMapping

    from gateway.cache.refreshes import Refreshes
    from gateway.cache.store import Store
    from gateway.call import Call, Clock, Request, Sleep
    from gateway.config.models import UpstreamConfig
    from gateway.events import Events
    from gateway.offload import Offload
    from gateway.transport import Objections
    from gateway.upstreams.kind import Wire

__all__ = ["Declared", "Shared", "Upstream", "open_upstream"]


class Shared(NamedTuple):
    """The services that all upstreams of one application share.

    Attributes:
        store: stores cached answers.
        refreshes: refreshes in the background.
        events: receives the events of all layers.
        clock: monotonic seconds.
        now: POSIX seconds.
        sleep: waits between attempts.
        random: uniform in [0, 1).
        objections: records failed assertions of a test's mock; `None` outside tests.
        offload: decodes large answers; without it they are decoded on the event loop.
        meters: what the layers of each upstream count, by its name; it outlives them.
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
    meters: MutableMapping[str, UpstreamMeter] | None = None

    @property
    def environment(self) -> Environment:
        """What the wires of upstreams use of it."""
        return Environment(self.clock, self.now, self.objections, self.offload)

    def context(self, upstream: str) -> LayerContext:
        """Return what the layers of one upstream use of it."""
        meter = UpstreamMeter()
        if self.meters is not None:
            meter = self.meters.setdefault(upstream, meter)
        return LayerContext(
            upstream, self.events, self.clock, self.now, self.sleep, self.random, meter
        )


class Declared(NamedTuple):
    """What an upstream is opened for.

    Attributes:
        name: its name.
        config: its declaration.
        cached: a section caches its answers under a policy of its own.
    """

    name: str
    config: UpstreamConfig
    cached: bool = False


class Upstream:
    """A name and its stacked Call.

    Attributes:
        declared: what it was opened for; another one of the same name may replace it if this is
            the same.
        call: calls the upstream through every configured layer.
        polled: does so with a cache, which only requests with a policy of their own use if the
            upstream has none: for the polls of live dashboards, which replicas share.
        direct: calls it through the timeout only, for `gateway probe`.
        forward: the client's header fields that are part of a call's identity, in lower case.
        ping: the operation that checks whether the upstream is reachable.
        propagate: the client's header fields that are sent but are not part of the identity.
    """

    __slots__ = ("_flights", "_wire", "call", "declared", "direct", "forward", "name", "ping",
                 "polled", "propagate")  # fmt: skip

    def __init__(
        self,
        declared: Declared,
        call: Call,
        polled: Call,
        direct: Call,
        wire: Wire,
        flights: Flights,
    ) -> None:
        self.declared = declared
        self.name = declared.name
        self.call = call
        self.polled = polled
        self.direct = direct
        self.forward = wire.forward
        self.propagate = wire.propagate
        self.ping = wire.ping
        self._wire = wire
        self._flights = flights

    @property
    def busy(self) -> bool:
        """Whether a shared call is in flight; it may outlive its callers."""
        return len(self._flights) > 0

    async def aclose(self) -> None:
        """Cancel calls in flight and close every connection."""
        await self._flights.aclose()
        await self._wire.aclose()


def open_upstream(declared: Declared, shared: Shared) -> Upstream:
    """Build the stack of one upstream; does not connect yet.

    Args:
        declared: what it is opened for.
        shared: what all upstreams share.
    """
    name, config, cached = declared
    wire = kind_of(config).open(name, config, shared.environment)
    context = shared.context(name)
    caches = cached or config.cache is not None
    store, flights = shared.store, Flights()
    caching = (
        # A hit skips all layers below, and the cache sees the final failure of all of them.
        cache(config.cache, context, generation=wire.generation, store=store,
              refreshes=shared.refreshes),
        # One call for many callers; it outlives the cancellation of its first caller.
        collapse(CollapsePolicy(), context, flights, _flown_for(store)),
        # One fetch for many replicas; its answer is stored for all of them.
        fill(context, store),
    )  # fmt: skip
    budget = Budget(config.retry.budget, shared.clock) if config.retry else None
    if budget is not None:
        context.meter.gauges["retry_budget"] = lambda: budget.left
    attempt_timeout = timeout(config, context)
    call = stack(
        wire.call,
        *(caching if caches else ()),
        # All layers below run within the remaining time of the request.
        deadline(context),
        # Retries within a budget; it holds no permit while it waits.
        retry(config.retry, context, budget) if config.retry and budget else None,
        # A second attempt parallel to a slow one, from the same budget.
        hedge(config.hedge, context, budget) if config.hedge else None,
        # Counts every attempt, so it opens as fast as the upstream fails.
        breaker(config.breaker, context) if config.breaker else None,
        # A Retry-After of the upstream applies to every call, not only to this one.
        cooldown(config.cool_down, context) if config.cool_down else None,
        # The deadline, not the upstream's timeout, covers the wait for a permit.
        concurrency(config, context),
        # Publishes an event for every attempt, timeouts included.
        observe(context),
        # Limits one attempt, from sending to the last byte.
        attempt_timeout,
    )  # fmt: skip
    context.meter.gauges.update(wire.gauges)
    polled = call if caches else stack(call, *caching)
    return Upstream(declared, call, polled, stack(wire.call, attempt_timeout), wire, flights)


def _flown_for(store: Store) -> Callable[[Request], Hashable]:
    """Return the key by which requests share a call.

    A caller that comes after a purge never joins a call that began before it.
    """
    purges = store.purges

    def flown_for(request: Request) -> Hashable:
        # Policies live as long as their plans, so `id` identifies them.
        return purges.latest, id(request.cache), request.identity

    return flown_for
