"""`demo`, `mock`, `run` and `purge` as processes of their own."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.commands.processes import answering, gateway, get, inside, running
from tests.ports import reserved_port
from tests.waiting import until_blocking

if TYPE_CHECKING:
    from pathlib import Path

DASHBOARDS = [
    "/dashboard/1",
    "/dashboard",
    "/users/1/activity",
    "/weather?city=London&city=Tokyo",
    "/weather/fastest",
]


def test_demo_serves_every_shipped_dashboard_with_all_sections_ok() -> None:
    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    with running(f"{url}/healthz", "demo", "--port", str(port)) as process:
        for path in DASHBOARDS:
            answer = get(url + path)
            assert answer.status_code == 200
            document = answer.json()
            assert document["errors"] == []
            assert document["meta"]["complete"] is True
            assert {s["state"] for s in document["meta"]["sections"].values()} == {"ok"}
        cities = get(f"{url}/weather?city=London&city=Nowhere&city=Tokyo").json()
        assert cities["data"]["weather"]["Nowhere"] is None
        assert cities["data"]["weather"]["London"]["temperature_2m"] is not None
        assert cities["data"]["weather"]["Tokyo"]["temperature_2m"] is not None
        assert [e["element"] for e in cities["errors"]] == ["Nowhere"]
        assert "<title>Aggregation gateway" in get(url).text
        assert get(f"{url}/dashboard").headers["access-control-allow-origin"] == "*"
        assert get(f"{url}/dashboard/999").status_code == 404
        assert get(f"{url}/dashboard/abc").status_code == 422
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
        printed = process.printed()
    assert f"{url}/dashboard/1" in printed
    assert "Traceback" not in printed


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("fail", "status", "state"), [("weather=1.0", 200, "failed"), ("users=1.0", 502, None)]
)
def test_demo_with_a_broken_upstream(fail: str, status: int, state: str | None) -> None:
    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    with running(f"{url}/healthz", "demo", "--port", str(port), "--fail", fail):
        answer = get(f"{url}/dashboard/1")
    assert answer.status_code == status
    document = answer.json()
    if state:
        assert document["data"]["weather"] is None
        assert document["meta"]["sections"]["weather"]["state"] == state
        assert [e["section"] for e in document["errors"]] == ["weather"]
        assert document["meta"]["complete"] is False
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert document["errors"][0]["section"] == "profile"


CONFIG = """
upstreams:
  up: {{base_url: "{mock}", cache: {{ttl: 1h}}}}
dashboards:
  one:
    path: /one
    tags: [t]
    deadline: 2m
    sections: {{user: {{get: "up:/users/1"}}}}
"""


class Upstream(BaseHTTPRequestHandler):
    """An upstream that has a user."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply(200, b'{"id":1}')

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def configured(directory: Path, upstream: int) -> list[str]:
    """Write a configuration and return the options that name it."""
    config = directory / "own.yaml"
    config.write_text(CONFIG.format(mock=f"http://127.0.0.1:{upstream}"))
    return ["--config", str(config)]


def test_run_and_purge(tmp_path: Path) -> None:
    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    token = {"GATEWAY_ADMIN_TOKEN": "s3cret"}
    admin_port = reserved_port()
    admin = f"http://127.0.0.1:{admin_port}"
    ports = {"GATEWAY_ADMIN_PORT": str(admin_port), "GATEWAY_LOG_FORMAT": "json"}
    everything = ["purge", "--url", admin, "--everything"]
    with answering(Upstream) as upstream:
        serve = ["run", "--port", str(port), *configured(tmp_path, upstream)]
        with running(f"{url}/healthz", *serve, **token, **ports):
            first = get(f"{url}/one")
            assert "hit" in get(f"{url}/one").headers["cache-status"]
            for what in (["--dashboard", "one"], ["--upstream", "up"], ["--tag", "t"],
                         ["--everything"]):  # fmt: skip
                purged = inside("purge", "--url", admin, *what, **token)
                assert (purged.returncode, purged.stdout) == (0, "1 processes were notified\n")
                assert "fwd=miss" in get(f"{url}/one").headers["cache-status"]
                assert "hit" in get(f"{url}/one").headers["cache-status"]
            assert inside("purge", "--url", admin, **token).returncode == 1
            wrong = inside(*everything, GATEWAY_ADMIN_TOKEN="other")
            assert wrong.returncode == 1
            assert "bearer token" in wrong.stderr
            assert first.json()["data"] == get(f"{url}/one").json()["data"]
    assert inside(*everything, **token).returncode == 1


@pytest.mark.no_cover
def test_a_request_under_way_is_finished_when_the_process_is_told_to_end(tmp_path: Path) -> None:
    asked, answers = threading.Event(), threading.Event()

    class Held(Upstream):
        """It answers when it is told to."""

        def do_GET(self) -> None:
            asked.set()
            answers.wait(120)
            super().do_GET()

    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    with answering(Held) as upstream, concurrent.futures.ThreadPoolExecutor(1) as pool:
        serve = ["run", "--port", str(port), *configured(tmp_path, upstream)]
        with running(f"{url}/healthz", *serve, GATEWAY_DRAIN_SECONDS="120") as process:
            answer = pool.submit(get, f"{url}/one")
            assert asked.wait(120)
            process.send_signal(signal.SIGTERM)
            _stopped_listening(port)
            answers.set()
            assert answer.result(120).json()["data"]["user"]["id"] == 1
            assert process.wait(120) == 0


def _stopped_listening(port: int) -> None:
    """Wait until the process has taken note of the signal."""

    def refuses() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    until_blocking(refuses)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["run", "--config", "no/such.yaml"], {}, "no/such.yaml:1:1: cannot be read"),
        (["run"], {"GATEWAY_PORT": "x"}, "GATEWAY_PORT"),
        (["mock", "--fail", "nope=1"], {}, "nope"),
        (["demo", "--latency", "users=soon"], {}, "soon"),
    ],
)
def test_what_cannot_be_served_is_told(
    arguments: list[str], environment: dict[str, str], said: str
) -> None:
    ended = inside(*arguments, **environment)
    assert ended.returncode != 0
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_no_worker_could_serve_is_told_once_and_ends(tmp_path: Path, workers: str) -> None:
    serve = ["run", "--port", "1", "--workers", workers, *configured(tmp_path, 1)]
    ended = inside(*serve, GATEWAY_REDIS_URL="http://x")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("environment: GATEWAY_REDIS_URL: ")


class Refusing(Upstream):
    """Some server that refuses with brackets in its words."""

    def do_POST(self) -> None:
        self.reply(422, b'{"detail": "no x[/y]"}')


def test_purge_prints_what_was_answered_as_it_is() -> None:
    with answering(Refusing) as port:
        url = f"http://127.0.0.1:{port}"
        ended = inside("purge", "--url", url, "--everything", GATEWAY_ADMIN_TOKEN="t")
    assert (ended.returncode, ended.stderr) == (1, "no x[/y]\n")


def test_a_taken_port_is_told() -> None:
    with answering(Upstream) as port:
        ended = gateway("mock", "--port", str(port))
        assert ended.returncode == 1
        assert "cannot listen" in ended.stdout
        for command in ("run", "demo"):
            ended = inside(command, "--port", str(port))
            assert ended.returncode == 1
            assert f"cannot listen on 127.0.0.1:{port} (" in ended.stderr
            assert "Traceback" not in ended.stderr


@pytest.mark.no_cover
def test_every_worker_tells_of_all_of_them(tmp_path: Path) -> None:
    port, admin_port = reserved_port(), reserved_port()
    url, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    with answering(Upstream) as upstream:
        serve = ["run", "--port", str(port), "--workers", "2", *configured(tmp_path, upstream)]
        with running(f"{url}/healthz", *serve, GATEWAY_ADMIN_PORT=str(admin_port)):
            for number in range(30):
                assert get(f"{url}/one?n={number}").status_code == 200

            def admitted() -> float:
                text = get(f"{admin}/metrics").text
                found = re.search(r"^gateway_requests_admitted_total (\S+)$", text, re.MULTILINE)
                return float(found[1]) if found else 0.0

            until_blocking(lambda: all(admitted() == 30 for _ in range(10)))


@pytest.mark.no_cover
def test_the_default_admin_port_may_be_in_use_but_not_one_that_was_chosen(tmp_path: Path) -> None:
    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    with answering(Upstream) as upstream, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # something else may have it already
            other.bind(("127.0.0.1", 8001))
            other.listen()
        serve = ["run", "--port", str(port), *configured(tmp_path, upstream)]
        with running(f"{url}/healthz", *serve):
            assert get(f"{url}/one").status_code == 200
        chosen = gateway(*serve, GATEWAY_ADMIN_PORT="8001")
        assert chosen.returncode == 1
        assert "cannot listen on 127.0.0.1:8001" in chosen.stderr


@pytest.mark.no_cover
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_changed_file_is_served_by_every_worker_after_a_hangup(
    tmp_path: Path, workers: str
) -> None:
    port, admin_port = reserved_port(), reserved_port()
    url, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    with answering(Upstream) as upstream:
        options = configured(tmp_path, upstream)
        config = tmp_path / "own.yaml"
        serve = ["run", "--port", str(port), "--workers", workers, *options]
        with running(f"{url}/healthz", *serve, GATEWAY_ADMIN_PORT=str(admin_port)) as process:
            assert get(f"{url}/one").status_code == 200
            text = config.read_text()
            config.write_text(text.replace("path: /one", "path: /two"))
            process.send_signal(signal.SIGHUP)
            until_blocking(lambda: all(get(f"{url}/two").status_code == 200 for _ in range(10)))
            config.write_text("nonsense")
            process.send_signal(signal.SIGHUP)

            def failed() -> bool:
                text = get(f"{admin}/metrics").text
                return 'gateway_config_reloads_total{result="failed"} 1.0' in text

            until_blocking(failed)
            config.write_text(text.replace("path: /one", "path: /three"))
            reloaded = httpx.post(f"{admin}/admin/reload", trust_env=False, timeout=90)
            assert reloaded.json() == {"changed": True, "dashboards": 1}
            until_blocking(lambda: all(get(f"{url}/three").status_code == 200 for _ in range(10)))
