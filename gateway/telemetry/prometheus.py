"""`/metrics`: what the process holds and whether its shared store can be reached, for Prometheus.

Everything is read when it is asked for, so that no request pays for it. With `--workers` each
answer is that of one worker: run pods with one worker each, as the manifests in `k8s/` do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from gateway.cache.store import Store
    from gateway.offload import Offload
    from gateway.web.load_shedding import InFlight
    from gateway.web.response_cache import ResponseCache

__all__ = ["router"]


class _Gateway(Collector):
    """Reads the parts of one application."""

    def __init__(
        self,
        store: Store,
        kept: Callable[[], ResponseCache],
        in_flight: InFlight,
        offload: Offload,
    ) -> None:
        self._store = store
        self._kept = kept
        self._in_flight = in_flight
        self._offload = offload

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        if self._store.shared:
            yield GaugeMetricFamily(
                "gateway_store_up", "1 while the shared store answers", int(self._store.up)
            )
        held = self._store.held
        yield GaugeMetricFamily(
            "gateway_cache_entries", "Upstream answers kept in this process", held.entries
        )
        yield GaugeMetricFamily(
            "gateway_cache_bytes", "Memory that they are counted for", held.bytes
        )
        yield GaugeMetricFamily(
            "gateway_kept_answers_bytes", "Memory of whole answers that are kept", self._kept().size
        )
        yield GaugeMetricFamily(
            "gateway_requests_in_flight", "Dashboards under way", self._in_flight.count
        )
        yield CounterMetricFamily(
            "gateway_requests_refused",
            "Dashboards answered 503 because too many were under way",
            self._in_flight.refused,
        )
        budget = self._offload.budget
        yield GaugeMetricFamily(
            "gateway_decoding_bytes", "Large answers that are being decoded", budget.used
        )
        yield GaugeMetricFamily(
            "gateway_decoding_waiting", "Large answers that wait to be decoded", budget.waiting
        )
        lanes = {"quick": self._offload.quick, "slow": self._offload.slow}
        for name, what, counts in (
            ("jobs", "Large answers decoded or shaped by worker processes",
             {lane: processes.done for lane, processes in lanes.items()}),
            ("jobs_abandoned", "Jobs killed because their time was over or their client gone",
             {lane: processes.abandoned for lane, processes in lanes.items()}),
            ("processes_started", "Worker processes started",
             {lane: processes.started for lane, processes in lanes.items()}),
        ):  # fmt: skip
            family = CounterMetricFamily(f"gateway_worker_{name}", what, labels=["lane"])
            for lane, count in counts.items():
                family.add_metric([lane], count)
            yield family


def router(
    store: Store, kept: Callable[[], ResponseCache], in_flight: InFlight, offload: Offload
) -> APIRouter:
    """Return the route `/metrics`; `kept` returns the response cache that is in use."""
    registry = CollectorRegistry()
    registry.register(_Gateway(store, kept, in_flight, offload))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    routes = APIRouter(tags=["operations"])

    @routes.get(
        "/metrics",
        summary="Metrics for Prometheus",
        description="What this process holds and does, in the text format of Prometheus.",
        response_class=PlainTextResponse,
    )
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return routes
