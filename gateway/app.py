"""The composition root: from a configuration to an application. Nothing happens at import."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Protocol

from gateway.admin import purge as admin
from gateway.cache.refreshes import Refreshes
from gateway.cache.store import open_store
from gateway.config.models import Config
from gateway.config.settings import Settings
from gateway.engine.execution import BoundPlan
from gateway.engine.prefetch import Prefetch
from gateway.errors import ConfigError, Finding
from gateway.events import Events
from gateway.plan.load import Loaded, compile_config, load
from gateway.telemetry import prometheus as metrics
from gateway.telemetry.event_log import EventLog
from gateway.transport import Objections
from gateway.upstreams.stack import Shared, Upstream, open_upstream
from gateway.web.application import Application
from gateway.web.client_headers import ClientHeaders
from gateway.web.dashboard import DashboardEndpoint
from gateway.web.load_shedding import InFlight
from gateway.web.response_cache import KeptAnswers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from pathlib import Path

    from gateway.cache.store import Store
    from gateway.events import Event
    from gateway.plan.model import Plan

__all__ = ["create_app"]

_log = logging.getLogger("gateway")

_DESCRIPTION = """\
Each dashboard answers with one document that several upstreams contribute to. `data` holds its
sections, `errors` says what failed and why, and `meta` how good each section is. Where a required
section fails, the answer is a problem document (RFC 9457).
"""


def create_app(
    config: str | Path | Config | Loaded = "config/gateway.yaml",
    settings: Settings | None = None,
    *,
    listeners: Iterable[Callable[[Event], None]] = (),
) -> Application:
    """Return the application that a configuration declares.

    It is ready at once, also where nobody runs its lifespan (as `httpx.ASGITransport` does not);
    the lifespan closes what it opened.

    Args:
        config: path of a file, or a configuration that was loaded already.
        settings: of the process; from the environment (`GATEWAY_*`) unless given.
        listeners: called with every event.

    Raises:
        ConfigError: with every mistake, when the configuration cannot be used.
    """
    settings = settings or Settings.read()
    if isinstance(config, Config):
        loaded = compile_config(config)
    elif isinstance(config, Loaded):
        loaded = config
    else:
        loaded = load(config)
    events = Events(listeners)
    log = EventLog()
    log.listen_to(events)
    store = _open_store(settings, events)
    refreshes = Refreshes(events=events, clock=time.monotonic)
    objections = Objections()
    shared = Shared(store, refreshes, events, objections=objections)
    upstreams = open_upstreams(loaded, shared)

    def busy() -> bool:
        return any(upstream.busy for upstream in upstreams.values())

    kept = KeptAnswers(settings.cache_memory // 4, store.purges)
    in_flight = InFlight(settings.max_in_flight)
    calls = {name: upstream.call for name, upstream in upstreams.items()}
    bound_plans = [
        BoundPlan(plan, calls, clock=shared.clock, events=events) for plan in loaded.plans
    ]
    prefetch = Prefetch(bound_plans, clock=shared.clock, sleep=shared.sleep)
    dashboards = [
        DashboardEndpoint(
            bound,
            client_headers=_client_headers(bound.plan, upstreams),
            in_flight=in_flight,
            kept=kept if _keeps(bound.plan, loaded) else None,
            clock=shared.clock,
            now=shared.now,
            objections=objections,
            busy=busy,
        )
        for bound in bound_plans
    ]
    token = settings.admin_token.get_secret_value() if settings.admin_token else ""

    @asynccontextmanager
    async def lifespan(app: Application) -> AsyncIterator[None]:
        app.state.draining = False
        await store.open()
        prefetch.start()
        try:
            yield
        finally:
            app.state.draining = True
            # In the order in which the parts use each other.
            await _close(prefetch, refreshes, *upstreams.values(), store, log)
            objections.raise_first()

    return Application(
        dashboards,
        routers=[
            metrics.router(store, kept, in_flight),
            *([admin.router(token, store, kept)] if token else []),
        ],
        answers={
            name: upstream.answer
            for name, upstream in loaded.config.upstreams.items()
            if upstream.answer is not None
        },
        title="Aggregation gateway",
        description=_DESCRIPTION,
        version=_version(),
        lifespan=lifespan,
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        root_path=settings.root_path,
        servers=[{"url": settings.root_path or "/"}],
        # FastAPI's own telemetry asks the environment for a provider on every request (6 % of one).
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )


def _open_store(settings: Settings, events: Events) -> Store:
    redis = settings.redis_url.get_secret_value() if settings.redis_url else None
    try:
        return open_store(redis, events=events, max_bytes=settings.cache_memory)
    except ValueError as error:
        raise ConfigError([Finding(f"GATEWAY_REDIS_URL: {error}")], "environment") from None


def open_upstreams(loaded: Loaded, shared: Shared) -> dict[str, Upstream]:
    """Stack the calls of every declared upstream."""
    cached = {
        source.upstream
        for plan in loaded.plans
        for section in plan.sections
        if section.cache is not None
        for source in section.sources
    }
    return {
        name: open_upstream(name, upstream, shared, cached=name in cached)
        for name, upstream in loaded.config.upstreams.items()
    }


def _client_headers(plan: Plan, upstreams: Mapping[str, Upstream]) -> ClientHeaders:
    called = {source.upstream for section in plan.sections for source in section.sources}
    return ClientHeaders(
        forward={name: upstreams[name].forward for name in sorted(called)},
        propagate={name: upstreams[name].propagate for name in sorted(called)},
    )


def _keeps(plan: Plan, loaded: Loaded) -> bool:
    upstreams = loaded.config.upstreams
    return any(
        section.cache is not None or upstreams[source.upstream].cache is not None
        for section in plan.sections
        for source in section.sources
    )


class _Closes(Protocol):
    async def aclose(self) -> None: ...


async def _close(*parts: _Closes) -> None:
    """Close each part; one that fails stops no other."""
    for part in parts:
        try:
            await part.aclose()
        except Exception:
            _log.exception("could not close %s", type(part).__name__)


def _version() -> str:
    try:
        return version("aggregation-gateway")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"
