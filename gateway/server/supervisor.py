"""The parent of worker processes: starts them, replaces those that die or hang, and drains them."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from gateway.server.worker import DRAIN, DRAIN_NOW, END, HANG_UP, READY, Link, die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Supervisor"]

_log = logging.getLogger("gateway.server")

_TICK = 1.0
_MOST_FAILURES = 3
_LONGEST_BACKOFF = 30.0
_LONG_LIFE = 10.0
"""Seconds of life after which the end of a worker is not one of a series."""
_GRACE = 2.0
"""Seconds for workers to end at once."""


class Supervisor:
    """Runs `work` in several processes until it is told to end.

    The processes share the listening sockets. A connection that waits there belongs to no worker,
    so one that dies, hangs or is replaced takes none with it.

    A worker that has not reported yet is never killed, however long it takes to start: on a busy
    machine it may be slow, and a second one would make it slower. Once it has reported, it is
    replaced when it falls silent.

    Args:
        work: runs in each worker, with its link to this process; returns the exit code.
        count: number of workers.
        silence: seconds without a report after which a worker hangs.
        patience: seconds for a drain; a worker that takes longer is killed.
        on_hangup: called at SIGHUP, and when a worker reports one. It returns whether all workers
            are ordered to reload, or only the first one, which then reports why it cannot.
    """

    def __init__(
        self,
        work: Callable[[Link], int],
        count: int,
        *,
        silence: float = 30.0,
        patience: float = 60.0,
        on_hangup: Callable[[], bool] = lambda: True,
    ) -> None:
        self._on_hangup = on_hangup
        self._work = work
        self._silence = silence
        self._patience = patience
        self._slots = [_Slot(number) for number in range(1, count + 1)]
        self._signals: list[int] = []
        self._ending = False
        self._kill_at: float | None = None
        self._code = 0

    def run(self) -> int:
        """Supervise until all workers have ended; return the exit code.

        It is 0 after a drain and 1 if a worker had to be killed in it, or if no worker could start.
        """
        with self._handled_signals() as wakeup:
            while True:
                self._handle_signals()
                if not self._ending:
                    self._start_missing()
                elif not any(slot.running for slot in self._slots):
                    return self._code
                began = time.monotonic()
                self._read_reports(wakeup)
                self._reap()
                # A supervisor that was stopped (Ctrl+Z) cannot judge how long others were silent.
                self._judge(min(time.monotonic() - began, 2 * _TICK))

    @contextlib.contextmanager
    def _handled_signals(self) -> Iterator[socket.socket]:
        reading, writing = socket.socketpair()
        reading.setblocking(False)
        writing.setblocking(False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
        before = {
            number: signal.signal(number, lambda number, _: self._signals.append(number))
            for number in numbers
        }
        wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            reading.close()
            writing.close()

    def _handle_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number == signal.SIGHUP:
                self._hang_up()
            elif number in {signal.SIGTERM, signal.SIGINT}:
                self._end(delay=number == signal.SIGTERM)

    def _hang_up(self) -> None:
        everyone = self._on_hangup()
        for slot in self._slots if everyone else self._slots[:1]:
            slot.order(HANG_UP)

    def _end(self, *, delay: bool) -> None:
        now = time.monotonic()
        if self._ending:
            self._order(END)
            self._kill_at = min(self._kill_at or now, now + _GRACE)
            return
        self._ending = True
        self._kill_at = now + self._patience
        _log.info("draining %d workers", sum(slot.running for slot in self._slots))
        self._order(DRAIN if delay else DRAIN_NOW)

    def _order(self, order: bytes) -> None:
        for slot in self._slots:
            slot.order(order)

    def _start_missing(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if not slot.running and now >= slot.starts_at:
                slot.start(self._work, [other for other in self._slots if other is not slot])

    def _read_reports(self, wakeup: socket.socket) -> None:
        """Wait for a report or a signal, at most one tick."""
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        for slot in self._slots:
            if slot.link is not None:
                poll.register(slot.link, select.POLLIN)
        now = time.monotonic()
        starts = [slot.starts_at - now for slot in self._slots if not slot.running]
        poll.poll(max(0.0, min([_TICK, *([] if self._ending else starts)])) * 1000)
        with contextlib.suppress(BlockingIOError):
            while wakeup.recv(64):
                pass
        if sum(slot.read() for slot in self._slots):
            self._hang_up()

    def _reap(self) -> None:
        # Any child: as process 1 of a container it also inherits orphans.
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                for slot in self._slots:
                    if slot.pid == pid:
                        self._ended(slot, os.waitstatus_to_exitcode(status))

    def _ended(self, slot: _Slot, code: int) -> None:
        slot.ended()
        if self._ending:
            _log.info("worker %d has ended", slot.number)
            self._code = self._code or int(code != 0)
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        wait = slot.backoff()
        slot.starts_at = time.monotonic() + wait
        _log.error("worker %d %s; it is replaced in %g s", slot.number, how, wait)
        if all(one.failures >= _MOST_FAILURES for one in self._slots):
            _log.error("no worker could start; the gateway ends")
            self._ending, self._code = True, 1
            self._kill_at = time.monotonic() + _GRACE
            self._order(END)

    def _judge(self, elapsed: float) -> None:
        """Kill workers that hang."""
        late = self._kill_at is not None and time.monotonic() >= self._kill_at
        for slot in self._slots:
            if not slot.running:
                continue
            slot.silent += elapsed
            if late:
                _log.error("worker %d did not end in time and is killed", slot.number)
                slot.kill()
            elif slot.was_ready and slot.silent > self._silence:
                _log.error("worker %d has hung for %g s and is killed", slot.number, self._silence)
                slot.kill()


class _Slot:
    """The place of one worker, which is filled again when the worker ends."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.link: socket.socket | None = None
        self.failures = 0
        self.starts_at = 0.0
        self.silent = 0.0
        self.was_ready = False
        self._short_lives = 0
        self._started_at = 0.0

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.pid != 0

    def backoff(self) -> float:
        """Return the seconds until the next start, which grow while each life is short."""
        if not self.was_ready:
            self.failures += 1
        if time.monotonic() - self._started_at >= _LONG_LIFE:
            self._short_lives = 0
            return 0.0
        self._short_lives += 1
        if self._short_lives == 1:
            return 0.0
        return min(2.0 ** (self._short_lives - 2), _LONGEST_BACKOFF)

    def start(self, work: Callable[[Link], int], others: list[_Slot]) -> None:
        """Fork a worker."""
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        self.was_ready = False
        self.silent = 0.0
        self._started_at = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            # Another worker's link must end with the supervisor alone.
            for other in others:
                other.close()
            _run_worker(work, Link(theirs, self.number - 1), parent)
        theirs.close()
        ours.setblocking(False)
        self.link = ours
        _log.info("worker %d is process %d", self.number, self.pid)

    def order(self, order: bytes) -> None:
        """Send an order; a worker that is still starting obeys when it runs."""
        if self.link is not None:
            with contextlib.suppress(OSError):
                self.link.send(order)

    def read(self) -> bool:
        """Read what the worker has reported; return whether it asks the others to reload."""
        if self.link is None:
            return False
        try:
            reports = self.link.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            reports = b""
        if not reports:
            self.close()
            return False
        self.silent = 0.0
        if READY in reports and not self.was_ready:
            self.was_ready = True
            self.failures = 0
            _log.info("worker %d accepts connections", self.number)
        return HANG_UP in reports

    def kill(self) -> None:
        """Kill the worker."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> None:
        """Note that the process is gone."""
        self.read()  # it may have been ready for a moment
        self.close()
        self.pid = 0

    def close(self) -> None:
        """Close the link."""
        link, self.link = self.link, None
        if link is not None:
            link.close()


def _run_worker(work: Callable[[Link], int], link: Link, parent: int) -> Any:
    """Run `work` in a process that has just been forked, and end it."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        # A terminal and some service managers signal the whole group; the supervisor alone decides.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(parent)
        code = work(link)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        _log.exception("a worker failed")
    finally:
        with contextlib.suppress(Exception):
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
