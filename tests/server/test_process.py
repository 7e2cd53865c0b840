"""`gateway run` as a process: signals, workers, and what a client sees of its end."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.commands.processes import answering, clean_environment, get, running
from tests.ports import reserved_port
from tests.waiting import until_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.forked import Forked

CONFIG = """
upstreams:
  up: {{base_url: "http://127.0.0.1:{port}", timeout: 10m}}
dashboards:
  one: {{path: /one, deadline: 10m, sections: {{user: {{get: "up:/users/1"}}}}}}
"""
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])
FOREVER = "3600"


class Held:
    """An upstream that answers when it may."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        held = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                held.asked.set()
                held.may_answer.wait(120)
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.end_headers()
                with suppress(OSError):  # the gateway may be gone
                    self.wfile.write(b'{"id":1}')

            def log_message(self, *_: object) -> None:
                pass

        self.handler = Handler


class Gateway:
    """A running gateway."""

    def __init__(self, url: str, process: Forked, upstream: Held) -> None:
        self.url = url
        self.process = process
        self.upstream = upstream

    def get(self, path: str) -> httpx.Response:
        return get(self.url + path)

    def ready(self) -> int:
        return self.get("/readyz").status_code

    def ended(self) -> str:
        """Return what it has printed by its end, which must be without an error."""
        code = self.process.wait(120)
        printed = self.process.printed()
        assert code == 0, printed
        assert "Traceback" not in printed
        return printed


@contextmanager
def serving(directory: Path, *options: str, **environment: str) -> Iterator[Gateway]:
    upstream = Held()
    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    config = directory / "gateway.yaml"
    with answering(upstream.handler) as behind:
        config.write_text(CONFIG.format(port=behind))
        command = ["run", "--port", str(port), "--config", str(config), *options]
        with running(f"{url}/healthz", *command, **environment) as process:
            try:
                yield Gateway(url, process, upstream)
            finally:
                upstream.may_answer.set()
                process.kill()


@WORKERS
def test_it_serves_on_after_sigterm_and_ends_at_once_at_a_second_one(
    tmp_path: Path, workers: str
) -> None:
    with serving(tmp_path, "--workers", workers, GATEWAY_DRAIN_DELAY=FOREVER) as gateway:
        gateway.process.send_signal(signal.SIGHUP)
        assert gateway.ready() == 200
        gateway.process.send_signal(signal.SIGTERM)
        until_blocking(lambda: [gateway.ready() for _ in range(8)] == [503] * 8)
        ready = gateway.get("/readyz")
        assert ready.json() == {"status": "draining"}
        assert ready.headers["connection"] == "close"
        assert gateway.get("/healthz").status_code == 200
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(gateway.get, "/one")
            gateway.upstream.asked.wait(120)
            gateway.upstream.may_answer.set()
            assert answer.result(120).json()["data"]["user"]["id"] == 1
            assert answer.result().headers["connection"] == "close"
        gateway.process.send_signal(signal.SIGTERM)
        gateway.ended()


@WORKERS
def test_what_it_cannot_finish_gets_a_503_problem(tmp_path: Path, workers: str) -> None:
    with (
        serving(tmp_path, "--workers", workers, GATEWAY_DRAIN_SECONDS="1") as gateway,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(gateway.get, "/one")
        gateway.upstream.asked.wait(120)
        gateway.process.send_signal(signal.SIGTERM)
        left = answer.result(120)
        assert left.status_code == 503
        assert left.headers["content-type"] == "application/problem+json"
        assert left.headers["retry-after"] == "1"
        assert left.json()["title"] == "Service Unavailable"
        assert "1 requests were not finished" in gateway.ended()


def test_ctrl_c_finishes_what_is_in_flight_without_the_delay(tmp_path: Path) -> None:
    with (
        serving(tmp_path, GATEWAY_DRAIN_DELAY=FOREVER, GATEWAY_DRAIN_SECONDS=FOREVER) as gateway,
        concurrent.futures.ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(gateway.get, "/one")
        gateway.upstream.asked.wait(120)
        gateway.process.send_signal(signal.SIGINT)
        until_blocking(lambda: not _answers(gateway))
        gateway.upstream.may_answer.set()
        assert answer.result(120).json()["data"]["user"]["id"] == 1
        gateway.ended()


def test_its_workers_end_when_it_is_killed(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as gateway:
        gateway.process.kill()
        until_blocking(lambda: not _answers(gateway))


def _answers(gateway: Gateway) -> bool:
    try:
        gateway.get("/healthz")
    except httpx.TransportError:
        return False
    return True


def test_sigterm_before_it_serves_ends_it_with_0(tmp_path: Path) -> None:
    # Process 1 of a container would ignore a signal that it does not handle.
    config = tmp_path / "gateway.yaml"
    os.mkfifo(config)
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", "--config", str(config)], env=clean_environment()
    )
    try:
        with config.open("w"):  # it has begun to read its configuration
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait(120)
