"""The supervisor: which workers it replaces and kills, when it gives up, how all of them end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.server.supervisor import Supervisor, _Slot
from tests.forked import Forked
from tests.waiting import until_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator

_HANGS = 90


class Supervised:
    """Supervisors with made-up workers, each in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.notes = directory / "notes"
        self.notes.touch()
        self.log = directory / "log"
        self._started: list[Forked] = []

    def start(self, worker: str, *, silence: float = 60.0) -> Forked:
        """Run a supervisor of two workers; `note` in them adds a word to the notes."""
        body = "\n    ".join(worker.strip().splitlines())
        script = f"""
import asyncio, logging, os, signal, sys, time
from gateway.server import Supervisor
from gateway.server.worker import READY
logging.basicConfig(level="INFO", stream=sys.stdout)

NOTES = {str(self.notes)!r}

def note(word):
    with open(NOTES, "a") as notes:
        notes.write(word + " ")

def serve(link, server):
    async def main():
        server.over = asyncio.Event()
        link.attach(server)
        await server.over.wait()
    asyncio.run(main())

class Ends:
    def end(self, *, delay=True):
        note("drain" if delay else "now")
        self.over.set()
    def hang_up(self):
        note("hup")

def work(link):
    {body}
    return 0

sys.exit(Supervisor(work, 2, silence={silence}).run())
"""
        process = Forked(_execute, script, log=self.log)
        self._started.append(process)
        return process

    def noted(self, *words: str) -> None:
        """Wait until these words have been noted, in any order."""
        until_blocking(lambda: sorted(self.notes.read_text().split()) == sorted(words))

    def pids(self) -> list[int]:
        until_blocking(lambda: len(self.notes.read_text().split()) == 2)
        return [int(word) for word in self.notes.read_text().split()]

    def end(self) -> None:
        for process in self._started:
            process.kill()
            process.wait(_HANGS)


def _execute(script: str) -> None:
    exec(script, {})  # noqa: S102 - it is above


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    yield made
    made.end()


SERVES = 'note("up")\nserve(link, Ends())'


@pytest.mark.parametrize(("number", "order"), [(signal.SIGTERM, "drain"), (signal.SIGINT, "now")])
def test_all_workers_drain_at_a_signal(
    supervised: Supervised, number: signal.Signals, order: str
) -> None:
    process = supervised.start(SERVES)
    supervised.noted("up", "up")
    process.send_signal(signal.SIGHUP)
    supervised.noted("up", "up", "hup", "hup")
    process.send_signal(number)
    assert process.wait(_HANGS) == 0
    supervised.noted("up", "up", "hup", "hup", order, order)


def test_a_second_signal_ends_workers_that_do_not_drain(supervised: Supervised) -> None:
    process = supervised.start(
        "class Stays(Ends):\n"
        "    def end(self, *, delay=True):\n"
        '        note("no")\n'
        'note("up")\nserve(link, Stays())'
    )
    supervised.noted("up", "up")
    process.send_signal(signal.SIGTERM)
    supervised.noted("up", "up", "no", "no")
    process.send_signal(signal.SIGTERM)
    assert process.wait(_HANGS) == 1
    assert "did not end in time and is killed" in supervised.log.read_text()


def test_a_signal_to_a_worker_does_nothing(supervised: Supervised) -> None:
    # Ctrl+C in a terminal goes to all processes of the group.
    process = supervised.start("note(str(os.getpid()))\nserve(link, Ends())")
    for pid in supervised.pids():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
    process.send_signal(signal.SIGTERM)
    assert process.wait(_HANGS) == 0
    assert sorted(supervised.notes.read_text().split())[2:] == ["drain", "drain"]


def test_a_worker_that_dies_is_replaced(supervised: Supervised) -> None:
    process = supervised.start("note(str(os.getpid()))\nserve(link, Ends())")
    first, _ = supervised.pids()
    os.kill(first, signal.SIGKILL)
    until_blocking(lambda: len(supervised.notes.read_text().split()) == 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(_HANGS) == 0
    assert "was killed by signal 9; it is replaced" in supervised.log.read_text()


def test_a_worker_that_hangs_is_replaced(supervised: Supervised) -> None:
    process = supervised.start(
        'link._socket.send(READY)\nnote("up")\ntime.sleep(3600)', silence=0.5
    )
    until_blocking(lambda: len(supervised.notes.read_text().split()) >= 4)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.wait(_HANGS)
    assert "has hung for 0.5 s and is killed" in supervised.log.read_text()


def test_it_gives_up_when_no_worker_can_start(supervised: Supervised) -> None:
    process = supervised.start('note("x")\nsys.exit(3)')
    assert process.wait(_HANGS) == 1
    said = supervised.log.read_text()
    assert "ended with code 3" in said
    assert "no worker could start" in said
    assert 6 <= len(supervised.notes.read_text().split()) <= 8


def test_an_error_in_a_worker_is_logged(supervised: Supervised) -> None:
    process = supervised.start('raise ValueError("why")')
    assert process.wait(_HANGS) == 1
    assert "ValueError: why" in supervised.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux's")
def test_workers_that_hang_end_when_their_supervisor_is_killed(supervised: Supervised) -> None:
    process = supervised.start("note(str(os.getpid()))\ntime.sleep(3600)")
    pids = supervised.pids()
    process.kill()
    process.wait(_HANGS)
    until_blocking(lambda: not any(map(_runs, pids)))


def test_a_worker_ends_when_its_supervisor_is_killed_whatever_the_others_do(
    supervised: Supervised,
) -> None:
    process = supervised.start("""
import ctypes
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # as where the kernel does not do it
note(str(os.getpid()))
while len(pids := open(NOTES).read().split()) < 2:
    time.sleep(0.01)
if os.getpid() == max(map(int, pids)):
    time.sleep(3600)
serve(link, Ends())
""")
    pids = supervised.pids()
    try:
        until_blocking(lambda: "accepts connections" in supervised.log.read_text())
        process.kill()
        process.wait(_HANGS)
        until_blocking(lambda: supervised.notes.read_text().split()[2:] == ["now", "drain"])
    finally:
        os.kill(max(pids), signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Watched(_Slot):
    """The place of a worker that has no process."""

    def __init__(self, *, ready: bool) -> None:
        super().__init__(1)
        self.pid = -1
        self.was_ready = ready
        self.kills = 0

    def kill(self) -> None:
        self.kills += 1


def test_a_worker_that_is_starting_is_never_taken_to_hang() -> None:
    supervisor = Supervisor(lambda _: 0, 2, silence=30)
    starting, serving = Watched(ready=False), Watched(ready=True)
    supervisor._slots = [starting, serving]
    for _ in range(30):
        supervisor._judge(1.0)
    assert (starting.kills, serving.kills) == (0, 0)
    supervisor._judge(1.0)
    assert (starting.kills, serving.kills) == (0, 1)


def test_a_worker_that_dies_at_once_again_and_again_is_replaced_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("gateway.server.supervisor.time.monotonic", lambda: now)
    slot = Watched(ready=True)
    assert [slot.backoff() for _ in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert slot.failures == 0
    now = 11.0
    assert slot.backoff() == 0
