"""The admin endpoint `/metrics`, for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from gateway.telemetry.board import Place

__all__ = ["router"]


class _AllWorkers(Collector):
    def __init__(self, place: Place, own: CollectorRegistry) -> None:
        self._place = place
        self._own = own

    def collect(self) -> Iterator[Metric]:
        return self._place.collect(self._own)


def router(own: CollectorRegistry, place: Place | None) -> APIRouter:
    """Return the route `/metrics`.

    Args:
        own: the metrics of this process.
        place: that of this worker among several; `None` if it is the only process.
    """
    all_of_them = own
    if place is not None:
        all_of_them = CollectorRegistry()
        all_of_them.register(_AllWorkers(place, own))
    routes = APIRouter()

    @routes.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(all_of_them), media_type=CONTENT_TYPE_LATEST)

    return routes
