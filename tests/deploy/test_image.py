"""What the image is built from, and its health check."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.commands.processes import answering
from tests.deploy.rendering import ROOT
from tests.ports import refused

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
REQUIREMENTS = (ROOT / "image" / "requirements.txt").read_text()


def locked() -> dict[str, dict[str, Any]]:
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    return {package["name"]: package for package in packages}


def test_what_builds_the_image_is_what_the_lock_file_names() -> None:
    found = dict(re.findall(r"^([\w-]+)==(\S+)", REQUIREMENTS, re.MULTILINE))
    assert {"uv", "hatchling"} <= found.keys()
    for name, version in found.items():
        assert version == locked()[name]["version"], "run `make requirements`"
    hashes = {file["hash"] for name in found
              for file in [locked()[name]["sdist"], *locked()[name]["wheels"]]}  # fmt: skip
    assert set(re.findall(r"--hash=(\S+)", REQUIREMENTS)) == hashes
    assert "--require-hashes" in DOCKERFILE


def test_the_version_is_that_of_the_project() -> None:
    assert f"ARG VERSION={PROJECT['project']['version']}\n" in DOCKERFILE


def test_the_gateway_is_process_1_of_a_user_with_a_number() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)$", last, re.MULTILINE) == ["10001:10001"]
    assert re.findall(r"^STOPSIGNAL (.*)$", last, re.MULTILINE) == ["SIGTERM"]
    assert re.findall(r"^ENTRYPOINT (.*)$", last, re.MULTILINE) == ['["gateway"]']


def healthy(port: int, **environment: str) -> bool:
    """Run the command of the health check."""
    (written,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (.*)$", DOCKERFILE, re.MULTILINE)
    program, *arguments = json.loads(written)
    assert program == "python"
    done = subprocess.run(
        [sys.executable, *arguments],
        env={"PATH": os.environ["PATH"], "GATEWAY_PORT": str(port), **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode == 0


class Answers(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


class Refuses(Answers):
    status = 503


def test_the_health_check_follows_the_port_and_ignores_proxies() -> None:
    with answering(Answers) as port, refused() as proxy:
        url = f"http://127.0.0.1:{proxy}"
        assert healthy(port, http_proxy=url, HTTP_PROXY=url, all_proxy=url)
        assert not healthy(proxy)
    with answering(Refuses) as port:
        assert not healthy(port)


def test_the_build_trusts_the_systems_roots_where_no_ca_is_given() -> None:
    script = ROOT / "image" / "with-ca"
    seen = subprocess.run(
        [script, "/bin/sh", "-c", 'echo "$0-${SSL_CERT_FILE-none}"', "two words"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert seen.stdout == "two words-none\n"
