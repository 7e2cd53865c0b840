"""The TypeScript client and the gateway's pages, against real gateways; by Node and in Chromium.

Without Node or Chromium these tests are skipped. `GATEWAY_TEST_CLIENTS=1` makes that a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "clients" / "typescript"
BROWSERS = ("chromium", "google-chrome")
IN_BROWSER = {"browser", "pages"}
SUITES = {file.name.removesuffix(".test.ts") for file in (PACKAGE / "test").glob("*.test.ts")}


def missing(*, browser: bool) -> str:
    """Return what is not installed; empty if nothing is."""
    node = shutil.which("node")
    if node is None:
        return "Node is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < 18:
        return f"Node {version.strip()} is older than 18"
    if not (PACKAGE / "node_modules").is_dir():
        return "the packages are not installed: run `npm ci` in clients/typescript"
    if browser and not any(map(shutil.which, BROWSERS)):
        return "Chromium is not installed"
    return ""


def left_out(*, browser: bool) -> None:
    """Skip the test if something is not installed, or fail it where nothing may be left out."""
    reason = missing(browser=browser)
    if reason and os.environ.get("GATEWAY_TEST_CLIENTS") == "1":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def node(program: str, *options: str) -> str:
    """Run a program of Node in the package; return what it printed."""
    environment = {**os.environ, "GATEWAY": str(Path(sys.executable).parent / "gateway")}
    done = subprocess.run(
        [program, *options],
        cwd=PACKAGE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.no_cover
@pytest.mark.timeout(900)  # the compiler and browsers on a busy machine
@pytest.mark.parametrize("where", ["node", "chromium"])
def test_the_package(where: str) -> None:
    browser = where == "chromium"
    left_out(browser=browser)
    suites = sorted(IN_BROWSER if browser else SUITES - IN_BROWSER)
    # Each has a build of its own, so that they can run at the same time.
    build = f"build/{where}"
    node("node_modules/.bin/tsc", "-p", "tsconfig.json", "--outDir", build)
    files = [f"{build}/test/{suite}.test.js" for suite in suites]
    printed = node("node", "--test", "--test-reporter=tap", *files)
    counts = {
        name: int(count) for name, count in re.findall(r"^# (\w+) (\d+)$", printed, re.MULTILINE)
    }
    assert counts["pass"] == counts["tests"] > len(suites)
    assert counts["skipped"] == 0


def test_every_suite_is_run_somewhere() -> None:
    assert IN_BROWSER < SUITES
    assert {"batch", "fold", "generators", "get", "live", "sse", "stream", "types"} <= SUITES
