"""The upstream stack, written once, top to bottom: the table of contents of the gateway."""

from __future__ import annotations

import asyncio
import random as randomness
import time
from hashlib import blake2b
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple, TypedDict
from urllib.parse import urlsplit

from gateway.call import stack
from gateway.expressions.json_schema import compile_schema
from gateway.layers.breaker import breaker
from gateway.layers.budget import Budget, BudgetPolicy
from gateway.layers.cache import cache
from gateway.layers.collapse import CollapsePolicy, Flights, collapse, same_request
from gateway.layers.concurrency import LimiterPolicy, limiter
from gateway.layers.cooldown import cooldown
from gateway.layers.deadline import DeadlinePolicy, announce, deadline
from gateway.layers.fill import lease
from gateway.layers.hedge import hedge
from gateway.layers.observe import observe
from gateway.layers.retry import retry
from gateway.layers.timeout import TimeoutPolicy, timeout
from gateway.transport import Bounds, Http1Transport, Mocked, Origin, StockTransport, TlsOptions
from gateway.upstreams.http.call import http_call
from gateway.upstreams.http.decode import Ingress

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from gateway.cache.refreshes import Refreshes
    from gateway.cache.store import Store
    from gateway.call import Call, Clock, Request, Sleep
    from gateway.config.models import UpstreamConfig
    from gateway.events import Events
    from gateway.transport import Exchange, Objections

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
    """

    store: Store
    refreshes: Refreshes
    events: Events
    clock: Clock = time.monotonic
    now: Clock = time.time
    sleep: Sleep = asyncio.sleep
    random: Callable[[], float] = randomness.random
    objections: Objections | None = None


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
        propagate: those that are passed on with its calls and tell no two of them apart.
    """

    __slots__ = ("_exchanges", "_flights", "call", "direct", "forward", "name", "propagate")

    def __init__(
        self,
        name: str,
        call: Call,
        direct: Call,
        forward: tuple[bytes, ...],
        propagate: tuple[bytes, ...],
        flights: Flights,
        exchanges: tuple[Exchange, ...],
    ) -> None:
        self.name = name
        self.call = call
        self.direct = direct
        self.forward = forward
        self.propagate = propagate
        self._flights = flights
        self._exchanges = exchanges

    @property
    def busy(self) -> bool:
        """Whether a flight is under way, which may outlive its callers."""
        return len(self._flights) > 0

    async def aclose(self) -> None:
        """End what is under way and close every connection."""
        await self._flights.aclose()
        for exchange in self._exchanges:
            await exchange.aclose()


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
    named: _Named = {"upstream": name, "events": events, "clock": clock}
    budget = Budget(config.retry.budget if config.retry else BudgetPolicy(), clock)
    flights = Flights()
    deadlines = DeadlinePolicy(header=config.deadline_header)
    permits = LimiterPolicy(
        concurrency=config.concurrency, queue=config.queue, queue_timeout=config.queue_timeout
    )
    patience = timeout(TimeoutPolicy(after=config.timeout), upstream=name, clock=clock)
    keeps = cached or config.cache is not None
    generation = _generation(config)
    purges = shared.store.purges

    def flown_for(request: Request) -> Hashable:
        # Policies live as long as their plans: their identity tells them apart.
        return purges.latest, id(request.cache), same_request(request)

    wire, exchanges = _wire(name, config, shared)

    call = stack(
        wire,
        # A hit costs nothing further down, and the cache sees the final failure of all below.
        cache(config.cache, generation=generation, store=shared.store,
              refreshes=shared.refreshes, now=shared.now, random=random, **named)
        if keeps else None,
        # One flight for many callers; it outlives its first caller's cancellation.
        # A purge lands between two flights: who asks after it joins none that began before it.
        collapse(CollapsePolicy(), flights=flights, key=flown_for, **named) if keeps else None,
        # One fetch for many replicas; what it brings is kept for all of them.
        lease(config.cache, generation=generation, store=shared.store, now=shared.now,
              sleep=shared.sleep, random=random, **named)
        if keeps else None,
        # Everything below spends what remains of the request's time.
        deadline(deadlines, **named),
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
        limiter(permits, **named),
        # Attempts as they end, timeouts among them: told to whoever listens.
        observe(**named),
        # One attempt, from sending to the last byte.
        patience,
        # What remains is told to the upstream, measured as late as can be.
        announce(deadlines, **named),
    )  # fmt: skip
    forward, propagate = _lower(config.forward_headers), _lower(config.propagated)
    return Upstream(name, call, stack(wire, patience), forward, propagate, flights, exchanges)


def _lower(names: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(name.lower().encode("ascii") for name in names)


def _wire(name: str, config: UpstreamConfig, shared: Shared) -> tuple[Call, tuple[Exchange, ...]]:
    """Return the innermost Call and the transports that it uses."""
    bounds = Bounds(max_body=config.max_body, max_inflated=config.max_body)
    tls = TlsOptions(
        roots=config.tls.roots,
        ca_file=config.tls.ca_file,
        client_cert=config.tls.client_cert,
        client_key=config.tls.client_key,
    )
    connections = config.connections or (
        LimiterPolicy().max if config.concurrency == "adaptive" else config.concurrency
    )
    stock = StockTransport(
        max_connections=connections,
        connect_timeout=config.connect_timeout,
        bounds=bounds,
        tls=tls,
        http2=config.transport == "httpx" and _has_http2(),
        proxy=config.proxy,
    )
    native: Exchange = stock
    if config.transport == "native":
        native = Http1Transport(
            max_connections=connections,
            connect_timeout=config.connect_timeout,
            bounds=bounds,
            tls=tls,
        )
    parts = urlsplit(config.base_url)
    headers = {b"accept": b"application/json", b"accept-encoding": b"gzip, deflate",
               b"user-agent": b"aggregation-gateway"}  # fmt: skip
    headers |= {k.lower().encode("ascii"): v.encode("ascii") for k, v in config.headers.items()}
    # What the client may say itself is no constant part of the request.
    passed_on = {*_lower(config.forward_headers), *_lower(config.propagated)}
    defaults = [field for field in headers.items() if field[0] in passed_on]
    constant = [field for field in headers.items() if field[0] not in passed_on]
    origin = Origin.of(f"{parts.scheme}://{parts.netloc}", constant)
    ingress = Ingress(
        name,
        max_depth=config.max_depth,
        max_body=config.max_body,
        content_types=config.content_types,
        schema=compile_schema(config.answer) if config.answer is not None else None,
        now=shared.now,
    )
    objections = shared.objections
    mocked = stock if objections is None else Mocked(stock, objections)
    call = http_call(native, origin, ingress, upstream=name, prefix=parts.path, defaults=defaults,
                     mocked=mocked, expose_errors=config.expose_errors)  # fmt: skip
    return call, tuple({id(e): e for e in (native, stock)}.values())


def _generation(config: UpstreamConfig) -> bytes:
    """Return what changes when the upstream's declaration does: answers of another are not ours."""
    told = config.model_dump_json(
        include={"base_url", "headers", "answer", "max_depth", "content_types"}
    )
    return blake2b(told.encode(), digest_size=8).digest()


def _has_http2() -> bool:
    return find_spec("h2") is not None
