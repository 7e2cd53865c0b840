"""How uvicorn is set up for the gateway."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from gateway.server.connections import Connections
from gateway.server.limits import Limits
from gateway.telemetry.logs import log_config

if TYPE_CHECKING:
    from gateway.config.settings import Settings
    from gateway.plan.load import Loaded

__all__ = ["limits_of", "tune_collector", "uvicorn_options"]

_YOUNG = 50_000
_WORKER_SILENCE = 30
_REDIS_CONNECTIONS = 32  # of the pools for commands, scripts and notifications


def tune_collector() -> None:
    """Run the garbage collector less often, and never over objects that live for good.

    An answer consists of thousands of short-lived objects without cycles, which reference counting
    frees at once. With the default threshold of 700 the search for cycles takes 18 % of a
    request's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 50)


def limits_of(settings: Settings, loaded: Loaded) -> Limits:
    """Return what clients may do; upstreams and Redis get their share of the open files."""
    upstreams = sum(each.most_connections for each in loaded.config.upstreams.values())
    redis = _REDIS_CONNECTIONS if settings.redis_url else 0
    return Limits.of(settings, upstream_connections=upstreams + redis)


def uvicorn_options(settings: Settings, limits: Limits) -> dict[str, Any]:
    """Return the options that `uvicorn.run` and `uvicorn.Config` share.

    By default uvicorn waits for ever for requests in flight, logs each request at the cost of a
    third of the throughput, and sends its name in every answer. It also kills a worker that is
    silent for 5 s, and a new worker is silent until its imports are done: on a busy machine no
    worker would survive its start.
    """
    return {
        "loop": "uvloop",
        "http": Connections(limits),
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # the gateway does not use the client's address
        "log_config": log_config(settings.log_level, settings.log_format),
        "timeout_graceful_shutdown": settings.drain_seconds,
        "timeout_keep_alive": settings.keep_alive,
        "timeout_worker_healthcheck": _WORKER_SILENCE,
        "backlog": 4096,
    }
