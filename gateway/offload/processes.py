"""A pool of worker processes: started on first use, killed when the caller of a job is cancelled.

Each process has a thread that writes to it and waits for it, so the event loop never transfers
megabytes, and any loop can await a job. The number of processes bounds the concurrent jobs. A job
whose caller was cancelled is killed with its process, so abandoned work never accumulates.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from io import RawIOBase

__all__ = ["Processes", "Reply", "WorkerLostError"]

_log = logging.getLogger("gateway.offload")

_FRAME_SIZE = 12
_HEAD_SIZE = 4
_COMMAND = (sys.executable, "-m", "gateway.worker")
# Python returns most of a job's memory to the system. A process that still holds this much is
# replaced.
_MOST_MEMORY = 256 * 1024 * 1024


class WorkerLostError(Exception):
    """A worker process could not be started, or ended in the middle of a job."""


class Reply(NamedTuple):
    """A worker process's reply to a job.

    Attributes:
        said: metadata of the result.
        parts: the result.
    """

    said: dict[str, Any]
    parts: list[bytes]


class Processes:
    """A pool of worker processes, each with one job at a time; further jobs wait in a queue.

    Args:
        count: number of processes at most.
        command: the command of a process; by default the gateway's own worker.

    Attributes:
        started: processes started so far.
        done: completed jobs.
        abandoned: jobs that were killed because their caller was cancelled.
    """

    def __init__(self, count: int, *, command: Sequence[str] = _COMMAND) -> None:
        self._count = count
        self._command = tuple(command)
        self._threads: ThreadPoolExecutor | None = None
        self._own = threading.local()
        self._running: set[_Process] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.started = 0
        self.done = 0
        self.abandoned = 0

    async def do(self, head: Mapping[str, Any], body: bytes) -> Reply:
        """Run a job in a process; if the caller is cancelled, the job is killed or never begins.

        Raises:
            WorkerLostError: the process did not start, or ended in the middle of the job, or the
                pool is closed.
        """
        if self._closed:
            raise _closed_failure()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._count, "gateway-offload")
        ticket = _Ticket()
        work = self._threads.submit(self._work, ticket, orjson.dumps(head), body)
        try:
            reply = await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            if not work.cancel() and ticket.abandon():
                self.abandoned += 1
            raise
        self.done += 1
        return reply

    async def aclose(self) -> None:
        """Kill every process; jobs that run, wait in the queue or come later fail."""
        with self._lock:
            # From here on no process is added to those that run.
            self._closed = True
            running = tuple(self._running)
            self._running.clear()
        for process in running:
            process.kill()
        if self._threads is not None:
            await asyncio.to_thread(self._threads.shutdown)
        for process in running:
            process.end()

    # In a thread

    def _work(self, ticket: _Ticket, head: bytes, body: bytes) -> Reply:
        if self._closed:
            raise _closed_failure()
        process: _Process | None = getattr(self._own, "process", None)
        if process is None or not process.alive:
            if process is not None:
                self._retire(process)
            process = self._start()
        if not ticket.begin(process):
            raise WorkerLostError("the caller was cancelled")
        good = False
        try:
            reply = process.ask(head, body)
            good = reply.said["memory"] < _MOST_MEMORY
        except (OSError, EOFError) as error:
            raise WorkerLostError("a worker process ended in the middle of a job") from error
        finally:
            if ticket.end() or not good:
                self._retire(process)
        if "bug" in reply.said:
            raise RuntimeError(f"a worker process failed:\n{reply.said['bug']}")
        return reply

    def _start(self) -> _Process:
        try:
            process = _Process(self._command)
        except OSError as error:
            _log.warning("A worker process could not be started: %s", error)
            raise WorkerLostError("no worker process could be started") from error
        with self._lock:
            closed = self._closed
            if not closed:
                self._running.add(process)
                self.started += 1
        if closed:
            process.end()
            raise _closed_failure()
        self._own.process = process
        return process

    def _retire(self, process: _Process) -> None:
        self._own.process = None
        with self._lock:
            self._running.discard(process)
        process.end()


def _closed_failure() -> WorkerLostError:
    return WorkerLostError("the pool of worker processes is closed")


class _Ticket:
    """The process that runs a job, so that the loop can kill it while the thread waits.

    The lock ensures that the loop kills this job and never the next job of the same process.
    """

    __slots__ = ("_abandoned", "_lock", "_process")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._abandoned = False

    def begin(self, process: _Process) -> bool:
        """Record the process; return whether the caller still waits."""
        with self._lock:
            if not self._abandoned:
                self._process = process
            return not self._abandoned

    def end(self) -> bool:
        """Drop the process; return whether it was killed."""
        with self._lock:
            self._process = None
            return self._abandoned

    def abandon(self) -> bool:
        """Kill the process if it runs the job; return whether it did."""
        with self._lock:
            self._abandoned = True
            if self._process is None:
                return False
            self._process.kill()
            return True


class _Process:
    """One process and the pipes to it; used by one thread."""

    __slots__ = ("_popen",)

    def __init__(self, command: Sequence[str]) -> None:
        self._popen = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            # The worker imports from the same paths as this process, however these were set.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._popen.poll() is None

    def ask(self, head: bytes, body: bytes) -> Reply:
        """Send a job and wait for the reply."""
        orders = cast("RawIOBase", self._popen.stdin)  # a pipe without a buffer
        frame = len(head).to_bytes(_HEAD_SIZE, "big") + len(body).to_bytes(8, "big")
        for piece in (frame + head, body):
            view = memoryview(piece)
            while view:
                view = view[orders.write(view) :]
        frame = self._read(_FRAME_SIZE)
        said = orjson.loads(self._read(int.from_bytes(frame[:_HEAD_SIZE], "big")))
        return Reply(said, [self._read(size) for size in said["parts"]])

    def _read(self, size: int) -> bytes:
        replies = cast("RawIOBase", self._popen.stdout)
        read = bytearray(size)
        view = memoryview(read)
        while view:
            count = replies.readinto(view)
            if not count:
                raise EOFError
            view = view[count:]
        return bytes(read)

    def kill(self) -> None:
        """Kill the process."""
        self._popen.kill()

    def end(self) -> None:
        """Kill the process and wait for it to exit."""
        self._popen.kill()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._popen.wait()
