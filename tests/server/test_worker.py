"""A worker's link to its supervisor."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING, cast

from gateway.server import worker
from gateway.server.worker import Link
from tests.waiting import until

if TYPE_CHECKING:
    import pytest

    from gateway.server import Server


class Told:
    """A server that notes what it is told."""

    def __init__(self) -> None:
        self.orders: list[str] = []

    def end(self, *, delay: bool = True) -> None:
        self.orders.append("drain" if delay else "drain now")

    def hang_up(self) -> None:
        self.orders.append("hang up")


def attached(socket: socket.socket) -> list[str]:
    told = Told()
    Link(socket, 0).attach(cast("Server", told))
    return told.orders


async def test_it_reports_that_it_is_ready_and_that_its_loop_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "BEAT", 0.001)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        attached(theirs)
        ours.setblocking(False)
        received = b""

        def beats() -> bool:
            nonlocal received
            try:
                received += ours.recv(1)
            except BlockingIOError:
                return False
            return received.startswith(worker.READY + 3 * worker.ALIVE)

        await until(beats)


async def test_it_passes_orders_on() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        orders = attached(theirs)
        ours.send(worker.HANG_UP + worker.DRAIN)
        await until(lambda: orders == ["hang up", "drain"])
        ours.send(worker.DRAIN_NOW)
        await until(lambda: orders[2:] == ["drain now"])
        ours.send(worker.END)
        await until(lambda: len(orders) == 5)  # whatever it did before, it ends at once


async def test_it_ends_at_once_when_its_supervisor_is_gone() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        orders = attached(theirs)
        ours.close()
        await until(lambda: len(orders) == 2)


def test_a_process_whose_parent_has_died_already_ends() -> None:
    code = "from gateway.server.worker import die_with_parent; die_with_parent(0); print('alive')"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, timeout=90
    )
    assert (ended.returncode, ended.stdout) == (1, b"")
