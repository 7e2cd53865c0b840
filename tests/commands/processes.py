"""The command line as a process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx

from gateway.cli import main
from tests.forked import Forked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

_HANGS = 120.0
"""Seconds after which a process is given up: not how long it may take."""


_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts no one. httpx would read the list of all CAs for each request."""


def get(url: str) -> httpx.Response:
    """Ask a process of this machine."""
    return httpx.get(url, trust_env=False, timeout=_HANGS, verify=_NO_TLS)


def clean_environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    # No load balancer is in front, so no test waits for one.
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", "GATEWAY_DRAIN_DELAY": "0", **more}


def gateway(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        capture_output=True,
        text=True,
        timeout=_HANGS,
        check=False,
        env=clean_environment(**environment),
    )


def inside(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in this process, which is quicker where nothing else differs."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        mock.patch.dict(os.environ, clean_environment(**environment), clear=True),
        mock.patch.object(sys, "argv", ["gateway", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return subprocess.CompletedProcess(arguments, code or 0, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Run an HTTP server in threads of this process and give its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def running(url: str, *arguments: str, **environment: str) -> Iterator[Forked]:
    """Run a command that serves until `url` answers; end it by SIGTERM."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        process = Forked(_main, *arguments, log=log, environment=clean_environment(**environment))
        try:
            ends = time.monotonic() + _HANGS
            while not _answers(url):
                assert process.poll() is None, process.printed()
                assert time.monotonic() < ends
                time.sleep(0.05)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_HANGS)
            finally:
                process.kill()


def _main(*arguments: str) -> None:
    sys.argv = ["gateway", *arguments]
    main()


def _answers(url: str) -> bool:
    parts = httpx.URL(url)
    with socket.socket() as probe:  # costs far less than a request that fails
        if probe.connect_ex((parts.host, parts.port)) != 0:
            return False
    with contextlib.suppress(httpx.TransportError):
        get(url)
        return True
    return False
