"""The liveness and readiness endpoints, for orchestrators.

Neither calls an upstream or Redis. A gateway whose dependencies are down still answers (stale
values, fallbacks, typed errors); taking all replicas out of service would turn a partial outage
into a total one.
"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from gateway.web.lifecycle import Lifecycle

__all__ = ["Health", "router"]


class Health(BaseModel):
    """The state of the process."""

    status: Literal["ok", "draining"]


def router(lifecycle: Lifecycle) -> APIRouter:
    """Return the routes `/healthz` and `/readyz`."""
    routes = APIRouter(tags=["operations"])

    @routes.get(
        "/healthz",
        summary="Is the process alive?",
        description="Answers as long as the process runs. Calls no upstream and no store.",
    )
    async def healthz() -> Health:
        return Health(status="ok")

    @routes.get(
        "/readyz",
        summary="Is the process ready for requests?",
        description="Returns 503 while the process drains before it ends. Calls no upstream.",
        responses={503: {"model": Health, "description": "The process is draining"}},
    )
    async def readyz(response: Response) -> Health:
        if lifecycle.draining:
            response.status_code = 503
            return Health(status="draining")
        return Health(status="ok")

    return routes
