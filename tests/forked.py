"""Processes forked from one that has imported the gateway: importing takes most of a start."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing import forkserver
from typing import TYPE_CHECKING
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Forked"]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["gateway.commands.demo", "gateway.commands.run", __name__])
_TRACED = "COVERAGE_PROCESS_CONFIG"


class Forked:
    """A running process, with what tests need of `subprocess.Popen`.

    Args:
        work: a function of a module that can be imported; it may raise `SystemExit`.
        arguments: its arguments.
        log: the file that the process prints to.
        environment: its environment, by default the current one.
    """

    def __init__(
        self,
        work: Callable[..., object],
        *arguments: str,
        log: Path,
        environment: dict[str, str] | None = None,
    ) -> None:
        with mock.patch.dict(os.environ):
            os.environ.pop(_TRACED, None)  # the imports are traced elsewhere
            forkserver.ensure_running()
        self._log = log
        self._process = _FORKS.Process(
            target=_enter, args=(work, arguments, log, environment or dict(os.environ))
        )
        self._process.start()

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            assert self._process.pid is not None
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, `None` while the process runs."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Wait for the end of the process and return its exit code."""
        self._process.join(seconds)
        code = self.poll()
        assert code is not None, "the process did not end"
        return code

    def printed(self) -> str:
        """Return what the process has printed so far."""
        return self._log.read_text()


def _enter(
    work: Callable[..., object], arguments: tuple[str, ...], log: Path, environment: dict[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with log.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    if _TRACED in environment:
        import coverage

        coverage.process_startup(force=True)
    work(*arguments)
