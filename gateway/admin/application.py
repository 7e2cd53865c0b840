"""The admin application: what operators and their tools ask, on a port of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from gateway.web import health
from gateway.web.problems import answer_with_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from fastapi import APIRouter

    from gateway.web.lifecycle import Lifecycle

__all__ = ["admin_application"]


def admin_application(
    lifecycle: Lifecycle,
    routers: Iterable[APIRouter],
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
) -> FastAPI:
    """Return the application that serves these routes and the probes.

    Args:
        lifecycle: whether the process drains.
        routers: the routes.
        lifespan: what runs while the application serves.
    """
    app = FastAPI(
        title="Administration of the gateway",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    answer_with_problems(app)
    for router in (health.router(lifecycle), *routers):
        app.include_router(router)
    return app
