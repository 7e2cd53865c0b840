"""The metrics for Prometheus: read at each scrape, so that requests pay nothing for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from gateway.cache.store import Store
    from gateway.offload import Offload
    from gateway.web.load_shedding import Admission
    from gateway.web.response_cache import ResponseCache

__all__ = ["registry"]


class _Gateway(Collector):
    """Reads the parts of one application."""

    def __init__(
        self,
        store: Store,
        response_cache: Callable[[], ResponseCache],
        admission: Admission,
        offload: Offload,
    ) -> None:
        self._store = store
        self._response_cache = response_cache
        self._admission = admission
        self._offload = offload

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        if self._store.shared:
            yield GaugeMetricFamily(
                "gateway_store_up", "1 if the shared store answers, else 0", int(self._store.up)
            )
        held = self._store.held
        yield GaugeMetricFamily(
            "gateway_cache_entries", "Upstream answers stored in this process", held.entries
        )
        yield GaugeMetricFamily(
            "gateway_cache_bytes", "Memory of upstream answers stored in this process", held.bytes
        )
        yield GaugeMetricFamily(
            "gateway_kept_answers_bytes",
            "Memory of cached whole answers",
            self._response_cache().size,
        )
        yield from self._admissions()
        budget = self._offload.budget
        yield GaugeMetricFamily(
            "gateway_decoding_bytes", "Large answers being decoded", budget.used
        )
        yield GaugeMetricFamily(
            "gateway_decoding_waiting", "Large answers waiting to be decoded", budget.waiting
        )
        yield from self._worker_metrics()

    def _worker_metrics(self) -> Iterator[Metric]:
        lanes = {"quick": self._offload.quick, "slow": self._offload.slow}
        for name, what, counts in (
            ("jobs", "Large answers decoded or shaped by worker processes",
             {lane: processes.done for lane, processes in lanes.items()}),
            ("jobs_abandoned", "Jobs killed after a timeout or a disconnect of their client",
             {lane: processes.abandoned for lane, processes in lanes.items()}),
            ("processes_started", "Worker processes started",
             {lane: processes.started for lane, processes in lanes.items()}),
        ):  # fmt: skip
            family = CounterMetricFamily(f"gateway_worker_{name}", what, labels=["lane"])
            for lane, count in counts.items():
                family.add_metric([lane], count)
            yield family

    def _admissions(self) -> Iterator[Metric]:
        admission = self._admission
        yield GaugeMetricFamily(
            "gateway_requests_in_flight", "Dashboard requests in flight", admission.in_flight
        )
        yield GaugeMetricFamily(
            "gateway_requests_waiting", "Dashboard requests not yet begun", admission.waiting
        )
        yield GaugeMetricFamily(
            "gateway_requests_limit",
            "Dashboard requests in flight that are admitted now",
            admission.limit,
        )
        yield GaugeMetricFamily(
            "gateway_requests_pace",
            "Dashboard requests begun in one turn of the event loop at most",
            admission.pace,
        )
        yield GaugeMetricFamily(
            "gateway_event_loop_lag_seconds",
            "Time from when a callback of the event loop was last due until it ran",
            admission.lag,
        )
        yield CounterMetricFamily(
            "gateway_requests_admitted", "Dashboard requests begun", admission.admitted
        )
        refused = CounterMetricFamily(
            "gateway_requests_refused",
            "Dashboard requests answered 503 because of overload",
            labels=["reason"],
        )
        for reason, count in admission.refused.items():
            refused.add_metric([reason], count)
        yield refused


def registry(
    store: Store,
    response_cache: Callable[[], ResponseCache],
    admission: Admission,
    offload: Offload,
) -> CollectorRegistry:
    """Return the metrics of this process; `response_cache` returns the current response cache."""
    found = CollectorRegistry()
    found.register(_Gateway(store, response_cache, admission, offload))
    ProcessCollector(registry=found)
    GCCollector(registry=found)
    return found
