"""The Grafana dashboard: its form, and every query against a real Prometheus."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from tests import redis_server
from tests.commands.processes import get, running
from tests.deploy.metrics import unknown
from tests.deploy.rendering import ROOT, tool
from tests.ports import reserved_port
from tests.waiting import until_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "k8s" / "components" / "monitoring" / "dashboard.json").read_text()
)
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [
    (panel["title"], target["expr"]) for panel in PANELS for target in panel.get("targets", ())
]


def gateway_config(mock: int) -> dict[str, Any]:
    """Return a configuration in which everything happens that a panel shows."""
    base = f"http://127.0.0.1:{mock}"
    caching = {"ttl": "50ms", "stale_while_revalidate": "1m"}
    section = {"get": "posts:/posts?userId={id}", "select": "[].id"}
    return {
        "upstreams": {
            "users": {"base_url": base, "retry": {"attempts": 3}, "breaker": {"open_for": "1s"}},
            "posts": {"base_url": base, "hedge": {"after": "1ms", "ratio": 1}, "cache": caching},
        },
        "dashboards": {
            name: {
                "path": f"/{name}/{{id}}",
                "parameters": {"id": {"type": "integer"}},
                "sections": {
                    "posts": section,
                    "profile": {"get": "users:/users/{id}", "required": required},
                },
            }
            for name, required in (("strict", True), ("lenient", False))
        },
    }


def ask(url: str, query: str) -> list[float]:
    """Return what a query comes to: numbers, without those that are none."""
    for name, value in {"__rate_interval": "10s", "job": ".*", "dashboard": ".*", "upstream": ".*"}.items():  # fmt: skip
        query = query.replace(f"${name}", value)
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query}, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    values = [float(sample["value"][1]) for sample in answer.json()["data"]["result"]]
    return [value for value in values if not math.isnan(value)]


@contextlib.contextmanager
def prometheus(directory: Path, target: int) -> Iterator[str]:
    """Run a Prometheus that scrapes the admin port `target` every second, and give its URL."""
    address = f"127.0.0.1:{reserved_port()}"
    scrape = {"job_name": "gateway", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    file = directory / "prometheus.yaml"
    file.write_text(
        yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]})
    )
    with subprocess.Popen(
        [tool("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={directory / 'data'}",
         f"--web.listen-address={address}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            yield f"http://{address}"
        finally:
            process.kill()


def test_panels_have_their_own_place_and_number() -> None:
    taken = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in PANELS
        for x, y in itertools.product(range(panel["gridPos"]["w"]), range(panel["gridPos"]["h"]))
    ]
    assert len(taken) == len(set(taken))
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_queries_use_documented_metrics_of_the_chosen_job(title: str, query: str) -> None:
    assert title
    assert unknown(query) == set()
    # Every selector of a metric begins with the job.
    assert query.count('{job=~"$job"') == query.count("{")


def test_every_query_returns_data_of_a_real_prometheus(tmp_path: Path) -> None:
    tool("prometheus")  # before anything is started
    mock, port, admin = reserved_port(), reserved_port(), reserved_port()
    config = tmp_path / "gateway.yaml"
    config.write_text(yaml.safe_dump(gateway_config(mock)))
    base = f"http://127.0.0.1:{port}"
    missing = set(QUERIES)
    with (
        redis_server.running(tmp_path) as redis,
        running(
            f"http://127.0.0.1:{mock}/users/1",
            "mock", "--port", str(mock), "--fail", "users=0.7", "--latency", "posts=5ms",
        ),
        running(
            f"{base}/healthz", "run", "-c", str(config), "--port", str(port),
            GATEWAY_REDIS_URL=redis.url, GATEWAY_ADMIN_PORT=str(admin),
        ),
        prometheus(tmp_path, admin) as url,
    ):  # fmt: skip
        until_blocking(lambda: _answers(f"{url}/-/ready"))

        def all_return_data() -> bool:
            for name, number in itertools.product(("strict", "lenient"), range(1, 11)):
                get(f"{base}/{name}/{number}")
            missing.difference_update([each for each in missing if ask(url, each[1])])
            return not missing

        with contextlib.suppress(AssertionError):
            until_blocking(all_return_data)
    assert missing == set()


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return get(url).status_code == 200
    return False
