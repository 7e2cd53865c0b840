"""Liveness and readiness, for orchestrators.

Neither asks an upstream or Redis: a gateway whose dependencies are down still answers (stale,
fallbacks, typed errors), and taking all replicas out of service would turn a partial outage into a
whole one.
"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

__all__ = ["Health", "router"]


class Health(BaseModel):
    """How the process is."""

    status: Literal["ok", "draining"]


def router() -> APIRouter:
    """Return the routes `/healthz` and `/readyz`."""
    routes = APIRouter(tags=["operations"])

    @routes.get(
        "/healthz",
        summary="Is the process alive?",
        description="Answers as long as the process does; asks no upstream and no store.",
    )
    async def healthz() -> Health:
        return Health(status="ok")

    @routes.get(
        "/readyz",
        summary="Should it get requests?",
        description="Says 503 while the process drains before it ends; asks no upstream.",
        responses={503: {"model": Health, "description": "It is draining"}},
    )
    async def readyz(request: Request, response: Response) -> Health:
        if getattr(request.app.state, "draining", False):
            response.status_code = 503
            return Health(status="draining")
        return Health(status="ok")

    return routes
