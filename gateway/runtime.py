"""The runtime: everything that is built from one configuration. A reload builds a new one."""

from __future__ import annotations

import logging
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.engine.execution import BoundPlan
from gateway.engine.prefetch import Prefetch
from gateway.plan.live import polled
from gateway.testing.respx import follow_respx
from gateway.upstreams.stack import Declared, Shared, Upstream, open_upstream
from gateway.web.client_headers import ClientHeaders
from gateway.web.compression import Compression
from gateway.web.cors import VARY, Cors
from gateway.web.dashboard import DashboardEndpoint, Watching
from gateway.web.live import Live
from gateway.web.meter import DashboardMeter
from gateway.web.response_cache import ResponseCache
from gateway.web.websocket import WebSockets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gateway.cache.refreshes import Refreshes
    from gateway.cache.store import Store
    from gateway.config.models import BatchConfig
    from gateway.events import Events
    from gateway.offload import Offload
    from gateway.plan.load import Loaded
    from gateway.plan.model import Plan
    from gateway.telemetry.meters import Meters
    from gateway.transport import Objections
    from gateway.web.load_shedding import Admission

__all__ = ["Process", "Runtime", "close", "fingerprint", "open_upstreams"]

_log = logging.getLogger("gateway")


class Process(NamedTuple):
    """What lives as long as the process, across reloads.

    Attributes:
        store: where answers are cached.
        events: the listeners.
        objections: assertions that failed in a test's mocks.
        admission: admits requests for dashboards.
        offload: where large answers are decoded and shaped.
        refreshes: the background refreshes.
        response_memory: most bytes of cached whole answers.
        meters: what is counted.
        live_clients: most live streams.
        live_polls: most different things that they watch.
    """

    store: Store
    events: Events
    objections: Objections
    admission: Admission
    offload: Offload
    refreshes: Refreshes
    response_memory: int
    meters: Meters
    live_clients: int = 0
    live_polls: int = 0


class Runtime:
    """The upstreams, plans and endpoints of one configuration.

    It can serve as soon as it is made. `start` starts the background work, and `aclose` ends it.

    Attributes:
        loaded: the configuration.
        fingerprint: a digest of it; equal configurations have the same in all replicas.
        process: what lives as long as the process.
        cors: which origins may read answers; `None` if browsers let none.
        compression: how answers are compressed; `None` if they are not.
        upstreams: by name.
        endpoints: one for each dashboard, in the order of declaration.
        response_cache: the cache of whole answers.
        live: the live streams.
        websockets: the WebSockets; `None` if there are none.
    """

    __slots__ = (
        "_prefetch", "compression", "cors", "endpoints", "fingerprint", "live", "loaded", "process",
        "response_cache", "upstreams", "websockets",
    )  # fmt: skip

    def __init__(self, loaded: Loaded, process: Process, before: Runtime | None = None) -> None:
        self.loaded = loaded
        self.fingerprint = fingerprint(loaded)
        self.process = process
        shared = Shared(
            process.store,
            process.refreshes,
            process.events,
            objections=process.objections,
            offload=process.offload,
            meters=process.meters.upstreams,
        )
        cors = loaded.config.web.cors
        self.cors = Cors(cors) if cors is not None else None
        compression = loaded.config.web.compression
        self.compression = Compression(compression) if compression else None
        self.upstreams: dict[str, Upstream] = open_upstreams(
            loaded, shared, before.upstreams if before else {}
        )
        self.response_cache = ResponseCache(process.response_memory, process.store.purges)
        websocket = loaded.config.web.websocket
        self.websockets = WebSockets(websocket, self.cors) if websocket is not None else None
        self.live = Live(process.live_clients, process.live_polls, shared.clock)
        calls = {name: upstream.call for name, upstream in self.upstreams.items()}
        plans = [
            BoundPlan(
                plan, calls, clock=shared.clock, events=process.events, offload=process.offload
            )
            for plan in loaded.plans
        ]
        self._prefetch = Prefetch(plans, clock=shared.clock, sleep=shared.sleep)
        self.endpoints = [self._endpoint(plan, shared, process) for plan in plans]

    @property
    def answers(self) -> Mapping[str, Mapping[str, Any]]:
        """The JSON Schema that every answer of an upstream meets, by its name."""
        declared = self.loaded.config.upstreams
        return {name: one.schema_ for name, one in declared.items() if one.schema_ is not None}

    @property
    def batch(self) -> BatchConfig | None:
        """The limits of batches; `None` if there are none."""
        return self.loaded.config.web.batch

    @property
    def _varying(self) -> Sequence[bytes]:
        """Names of the client's header fields by which every answer may vary."""
        return [VARY] if self.cors is not None and self.cors.varies else []

    @property
    def busy(self) -> bool:
        """Whether a call is in flight that may outlive its callers."""
        return any(upstream.busy for upstream in self.upstreams.values())

    @property
    def in_flight(self) -> int:
        """Requests that have begun or wait to be begun."""
        doors = [endpoint.door for endpoint in self.endpoints]
        return sum(door.in_flight + door.waiting for door in doors)

    @property
    def longest(self) -> float:
        """The longest deadline of a request, in seconds."""
        return max(plan.deadline for plan in self.loaded.plans)

    def successor(self, loaded: Loaded) -> Runtime:
        """Return the runtime of another configuration in the same process.

        Upstreams that are declared alike go over to it.
        """
        return Runtime(loaded, self.process, self)

    def start(self) -> None:
        """Start prefetching."""
        self._prefetch.start()

    def end_streams(self) -> None:
        """End live streams, so that their clients connect again."""
        self.live.end()
        if self.websockets is not None:
            self.websockets.end()

    async def stop(self) -> None:
        """End the background work."""
        compression = [self.compression] if self.compression is not None else []
        await close(self.live, self._prefetch, *compression)

    async def retire(self, successor: Runtime) -> None:
        """Close what has not gone over to `successor`, which serves now."""
        await self.stop()
        left = successor.upstreams.values()
        await close(*(upstream for upstream in self.upstreams.values() if upstream not in left))

    async def aclose(self) -> None:
        """End the background work and close every connection."""
        await self.stop()
        await close(*self.upstreams.values())

    def _endpoint(self, bound: BoundPlan, shared: Shared, process: Process) -> DashboardEndpoint:
        return DashboardEndpoint(
            bound,
            client_headers=_client_headers(bound.plan, self.upstreams, self._varying),
            admission=process.admission,
            compression=self.compression,
            response_cache=self.response_cache if _is_cached(bound.plan, self.loaded) else None,
            clock=shared.clock,
            now=shared.now,
            objections=process.objections,
            busy=lambda: self.busy,
            meter=process.meters.dashboards.setdefault(bound.plan.name, DashboardMeter()),
            watching=self._watching(bound),
        )

    def _watching(self, bound: BoundPlan) -> Watching | None:
        """Return what serves the live streams of a dashboard, if it is live."""
        live = bound.plan.config.live
        if live is None:
            return None
        cached = {name for name, one in self.loaded.config.upstreams.items() if one.cache}
        polls = BoundPlan(
            polled(bound.plan, live.every, cached),
            {name: upstream.polled for name, upstream in self.upstreams.items()},
            clock=bound.clock,
            events=bound.events,
            offload=bound.offload,
        )
        return Watching(self.live, polls, live.every)


def fingerprint(loaded: Loaded) -> str:
    """Return a digest of a configuration; equal ones have the same in all replicas."""
    declared = loaded.config.model_dump_json()
    return blake2b(declared.encode(), digest_size=8).hexdigest()


def open_upstreams(
    loaded: Loaded, shared: Shared, before: Mapping[str, Upstream] | None = None
) -> dict[str, Upstream]:
    """Build the Call of every declared upstream, or take it from `before` if it is the same."""
    follow_respx()
    cached = {
        source.upstream
        for plan in loaded.plans
        for section in plan.sections
        if section.cache is not None
        for source in section.sources
    }
    opened: dict[str, Upstream] = {}
    for name, config in loaded.config.upstreams.items():
        declared = Declared(name, config, name in cached)
        same = before.get(name) if before else None
        if same is None or same.declared != declared:
            same = open_upstream(declared, shared)
        opened[name] = same
    return opened


def _client_headers(
    plan: Plan, upstreams: Mapping[str, Upstream], varying: Sequence[bytes]
) -> ClientHeaders:
    called = {source.upstream for section in plan.sections for source in section.sources}
    return ClientHeaders(
        forward={name: upstreams[name].forward for name in sorted(called)},
        propagate={name: upstreams[name].propagate for name in sorted(called)},
        varying=varying,
    )


def _is_cached(plan: Plan, loaded: Loaded) -> bool:
    upstreams = loaded.config.upstreams
    return any(
        section.cache is not None or upstreams[source.upstream].cache is not None
        for section in plan.sections
        for source in section.sources
    )


class _Closes(Protocol):
    async def aclose(self) -> None: ...


async def close(*parts: _Closes) -> None:
    """Close each part, even if closing another one fails."""
    for part in parts:
        try:
            await part.aclose()
        except Exception:
            _log.exception("could not close %s", type(part).__name__)
