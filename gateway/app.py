"""The composition root: from a configuration to an application. Nothing happens at import."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends

from gateway.admin import metrics, purge, reload
from gateway.admin.access import access, no_pages
from gateway.admin.application import admin_application
from gateway.cache.refreshes import Refreshes
from gateway.cache.store import open_store
from gateway.config.models import Config
from gateway.config.settings import Settings
from gateway.errors import ConfigError, Diagnostic
from gateway.events import Events
from gateway.offload import Offload, Processes
from gateway.plan.load import Loaded, compile_config, load
from gateway.runtime import Process, Runtime, close
from gateway.telemetry import prometheus
from gateway.telemetry.event_log import EventLog
from gateway.telemetry.meters import Meters
from gateway.telemetry.tally import Tally
from gateway.transport import Objections
from gateway.web import docs
from gateway.web.application import Application
from gateway.web.load_shedding import Admission

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from fastapi import FastAPI
    from prometheus_client import CollectorRegistry

    from gateway.admin.reload import Reloads
    from gateway.cache.store import Store
    from gateway.events import Event
    from gateway.telemetry.board import Place
    from gateway.web.response_cache import ResponseCache

__all__ = ["create_admin", "create_app", "swap"]

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
    routers: Iterable[APIRouter] = (),
) -> Application[Runtime]:
    """Return the application that a configuration declares.

    It is ready at once, even if its lifespan is never run (`httpx.ASGITransport` does not run it).
    The lifespan closes what the application opened.

    Args:
        config: path of a file, or a configuration that is already loaded.
        settings: settings of the process; read from the environment (`GATEWAY_*`) by default.
        listeners: called with every event.
        routers: further routes beside the dashboards.

    Raises:
        ConfigError: the configuration is invalid; the error lists every mistake.
    """
    settings = settings or Settings.read()
    loaded = _loaded(config)
    events = Events(listeners)
    log = EventLog()
    log.listen_to(events)
    tally = Tally()
    tally.listen_to(events)
    process = _open_process(settings, events, tally)
    return Application(
        Runtime(loaded, process),
        routers=[*([docs.router()] if settings.docs else []), *routers],
        title="Aggregation gateway",
        description=_DESCRIPTION,
        version=_version(),
        lifespan=_lifespan(process, log),
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if settings.docs else None,
        root_path=settings.root_path,
        servers=[{"url": settings.root_path or "/"}],
        # FastAPI's own telemetry looks up a provider on every request, which takes 6 % of its time.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )


def create_admin(
    app: Application[Runtime],
    settings: Settings | None = None,
    *,
    place: Place | None = None,
    reloader: Reloads | None = None,
) -> FastAPI:
    """Return the admin application of an application of the same process.

    Args:
        app: the application.
        settings: settings of the process; read from the environment (`GATEWAY_*`) by default.
        place: that of this worker among several; `None` if it is the only process.
        reloader: reloads the configuration; `None` if it is not from a file.
    """
    settings = settings or Settings.read()
    process = app.served.process

    def response_cache() -> ResponseCache:
        return app.served.response_cache

    own = prometheus.registry(
        process.store,
        response_cache,
        process.admission,
        process.offload,
        process.meters,
        prometheus.Version(_version(), lambda: app.served.fingerprint),
        lambda: app.served.live,
    )
    token = settings.admin_token.get_secret_value() if settings.admin_token else ""
    operations = APIRouter(
        prefix="/admin", dependencies=[Depends(access(token, settings.admin_host))]
    )
    operations.include_router(purge.router(process.store, response_cache))
    if reloader is not None:
        operations.include_router(reload.router(reloader))
    readings = APIRouter(dependencies=[Depends(no_pages(settings.admin_host))])
    readings.include_router(metrics.router(own, place))
    return admin_application(app.lifecycle, [readings, operations], _posting(own, place))


def _loaded(config: str | Path | Config | Loaded) -> Loaded:
    if isinstance(config, Loaded):
        return config
    return compile_config(config) if isinstance(config, Config) else load(config)


def _open_process(settings: Settings, events: Events, tally: Tally) -> Process:
    return Process(
        store=_open_store(settings, events),
        events=events,
        objections=Objections(),
        admission=Admission(settings.max_in_flight),
        offload=Offload(settings.decoding_memory, slow=Processes(settings.decoding_processes)),
        refreshes=Refreshes(events=events, clock=time.monotonic),
        response_memory=settings.cache_memory // 4,
        meters=Meters({}, {}, tally, Counter()),
        live_clients=settings.live_clients,
        live_polls=settings.live_polls,
    )


def _posting(
    own: CollectorRegistry, place: Place | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """Return the lifespan in which a worker posts its metrics for the others."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if place is None:
            yield
            return
        place.start(own)
        try:
            yield
        finally:
            place.stop(own)

    return lifespan


async def swap(app: Application[Runtime], runtime: Runtime) -> Runtime:
    """Serve `runtime` from the next request on; return the previous one for the caller to close.

    Requests in flight finish on the runtime that they started with; close it after they finish.
    Live streams end, and their clients connect again.
    """
    before = app.served
    runtime.start()
    app.serve(runtime)
    before.end_streams()
    return before


def _lifespan(
    process: Process, log: EventLog
) -> Callable[[Application[Runtime]], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Application[Runtime]) -> AsyncIterator[None]:
        app.lifecycle.draining = False
        await process.store.open()
        app.served.start()
        try:
            yield
        finally:
            app.lifecycle.draining = True
            # A part is closed before the parts that it uses.
            await app.served.stop()
            await close(process.refreshes, app.served, process.offload, process.store, log)
            process.objections.raise_first()

    return lifespan


def _open_store(settings: Settings, events: Events) -> Store:
    redis = settings.redis_url.get_secret_value() if settings.redis_url else None
    try:
        return open_store(redis, events=events, max_bytes=settings.cache_memory)
    except ValueError as error:
        raise ConfigError([Diagnostic(f"GATEWAY_REDIS_URL: {error}")], "environment") from None


@cache
def _version() -> str:
    try:
        return version("aggregation-gateway")
    except PackageNotFoundError:  # the source tree was never installed
        return "0"
