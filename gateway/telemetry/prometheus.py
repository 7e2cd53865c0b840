"""The metrics for Prometheus: read at each scrape, so that requests pay nothing for them."""

from __future__ import annotations

import platform
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.values.histogram import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from gateway.cache.store import Store
    from gateway.offload import Offload
    from gateway.telemetry.meters import Meters
    from gateway.values.histogram import Histogram
    from gateway.web.live import Live
    from gateway.web.load_shedding import Admission
    from gateway.web.response_cache import ResponseCache

__all__ = ["Version", "registry"]

_GAUGES = {
    "breaker_state": (
        "gateway_breaker_state", "The breaker: 0 closed, 1 half open, 2 open"
    ),
    "concurrency_in_flight": (
        "gateway_concurrency_in_flight", "Calls in flight within the concurrency limit"
    ),
    "concurrency_queued": (
        "gateway_concurrency_queued", "Calls that wait for a place within the concurrency limit"
    ),
    "concurrency_limit": ("gateway_concurrency_limit", "The concurrency limit now"),
    "connections_waiting": (
        "gateway_connections_waiting", "Calls that wait for a connection to the upstream"
    ),
    "retry_budget": (
        "gateway_retry_budget", "Retries and hedges that the budget allows now"
    ),
}  # fmt: skip


class _Gateway(Collector):
    """Reads the parts of one application."""

    def __init__(
        self,
        store: Store,
        response_cache: Callable[[], ResponseCache],
        admission: Admission,
        offload: Offload,
        live: Callable[[], Live],
    ) -> None:
        self._live = live
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
        live = self._live()
        yield GaugeMetricFamily("gateway_live_clients", "Open live streams", live.clients)
        yield GaugeMetricFamily(
            "gateway_live_polls", "Different things that live streams watch", live.polls
        )

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


class _Upstreams(Collector):
    """Reads what the layers of each upstream count."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        meters = self._meters.upstreams
        attempts = CounterMetricFamily(
            "gateway_upstream_attempts",
            "Requests sent to an upstream, by outcome: ok, cancelled, or the code of the error",
            labels=["upstream", "outcome"],
        )
        durations = HistogramMetricFamily(
            "gateway_upstream_attempt_duration_seconds",
            "Time from sending a request to an upstream until its whole answer is there",
            labels=["upstream"],
        )
        lookups = CounterMetricFamily(
            "gateway_cache_requests",
            "Calls that the cache was asked for, by result",
            labels=["upstream", "result"],
        )
        for name, meter in meters.items():
            attempts.add_metric([name, "ok"], meter.good)
            for outcome, count in meter.bad.items():
                attempts.add_metric([name, outcome], count)
            durations.add_metric([name], *_buckets(meter.durations))
            for result, count in meter.lookups.items():
                lookups.add_metric([name, result], count)
        yield from (attempts, durations, lookups)
        yield from self._rare()
        for gauge, (metric, about) in _GAUGES.items():
            family = GaugeMetricFamily(metric, about, labels=["upstream"])
            for name, meter in meters.items():
                if gauge in meter.gauges:
                    family.add_metric([name], meter.gauges[gauge]())
            yield family
        connections = GaugeMetricFamily(
            "gateway_connections", "Connections to an upstream", labels=["upstream", "state"]
        )
        for name, meter in meters.items():
            for state in ("idle", "busy"):
                if (read := meter.gauges.get(f"connections_{state}")) is not None:
                    connections.add_metric([name, state], read())
        yield connections

    def _rare(self) -> Iterator[Metric]:
        tally = self._meters.tally
        for name, about, labels, counts in (
            ("retries", "Attempts repeated after a failure", ["upstream"], tally.retries),
            ("hedges", "Second attempts beside slow ones", ["upstream"], tally.hedges),
            ("cool_downs", "Pauses that an upstream asked for by Retry-After", ["upstream"],
             tally.cool_downs),
            ("rejections", "Calls and retries refused before they were sent",
             ["upstream", "reason"], tally.rejections),
            ("breaker_changes", "Changes of a breaker to this state", ["upstream", "state"],
             tally.breaker_changes),
            ("refreshes", "Background refreshes", ["upstream", "result"], tally.refreshes),
        ):  # fmt: skip
            family = CounterMetricFamily(f"gateway_{name}", about, labels=labels)
            for key, count in counts.items():
                family.add_metric(key, count)
            yield family


class _Dashboards(Collector):
    """Reads what the endpoints count."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        requests = CounterMetricFamily(
            "gateway_requests",
            "Answers, by status; 499 is a client that left before its answer",
            labels=["dashboard", "status"],
        )
        durations = HistogramMetricFamily(
            "gateway_request_duration_seconds",
            "Time from the arrival of a request until its answer is written",
            labels=["dashboard"],
        )
        sections = HistogramMetricFamily(
            "gateway_section_duration_seconds",
            "Time from the start of a section until it has landed, without answers that are cached"
            " as a whole",
            labels=["dashboard", "section", "state"],
        )
        for name, meter in self._meters.dashboards.items():
            for status in {**meter.statuses, **meter.hits}:
                count = meter.statuses.get(status, 0) + meter.hits.get(status, 0)
                requests.add_metric([name, str(status)], count)
            durations.add_metric([name], *_buckets(meter.durations, sum(meter.hits.values())))
            for (section, state), durations_of in meter.sections.items():
                sections.add_metric([name, section, state], *_buckets(durations_of))
        yield from (requests, durations, sections)


class Version(NamedTuple):
    """What runs.

    Attributes:
        package: the version of the package.
        configuration: returns the fingerprint of the current configuration.
    """

    package: str
    configuration: Callable[[], str]


class _Info(Collector):
    def __init__(self, version: Version, reloads: Mapping[str, int]) -> None:
        self._version = version
        self._reloads = reloads

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "gateway_build_info", "What runs; always 1", labels=["version", "python"]
        )
        build.add_metric([self._version.package, platform.python_version()], 1)
        configuration = GaugeMetricFamily(
            "gateway_config_info", "The configuration that is served; always 1", labels=["hash"]
        )
        configuration.add_metric([self._version.configuration()], 1)
        reloads = CounterMetricFamily(
            "gateway_config_reloads", "Reloads of the configuration", labels=["result"]
        )
        for result in ("ok", "unchanged", "failed"):
            reloads.add_metric([result], self._reloads.get(result, 0))
        yield from (build, configuration, reloads)


def _buckets(histogram: Histogram, instant: int = 0) -> tuple[list[tuple[str, float]], float]:
    """Return the cumulative buckets and the sum; `instant` more durations were next to nothing."""
    counts = accumulate(histogram.counts, initial=instant)
    next(counts)
    bounds = (*map(floatToGoString, BOUNDS), "+Inf")
    return list(zip(bounds, map(float, counts), strict=True)), histogram.total


def registry(
    store: Store,
    response_cache: Callable[[], ResponseCache],
    admission: Admission,
    offload: Offload,
    meters: Meters,
    version: Version,
    live: Callable[[], Live],
) -> CollectorRegistry:
    """Return the metrics of this process; the functions return the parts of today's runtime."""
    found = CollectorRegistry()
    for collector in (
        _Dashboards(meters),
        _Upstreams(meters),
        _Gateway(store, response_cache, admission, offload, live),
        _Info(version, meters.reloads),
    ):
        found.register(collector)
    ProcessCollector(registry=found)
    GCCollector(registry=found)
    return found
