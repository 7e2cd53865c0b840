"""A worker process's link to its supervisor: it reports that it is alive, and takes orders."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

    from gateway.server.server import Server

__all__ = ["ALIVE", "BEAT", "DRAIN", "END", "HANG_UP", "READY", "Link", "die_with_parent"]

READY, ALIVE = b"r", b"."
"""What a worker reports: it accepts connections; its event loop runs. It reports `HANG_UP` too."""
DRAIN, DRAIN_NOW, END, HANG_UP = b"d", b"n", b"e", b"h"
"""What a supervisor orders: drain, drain without the delay, end at once, reload."""
BEAT = 1.0
"""Seconds between two reports of a worker."""

_PR_SET_PDEATHSIG = 1


class Link:
    """A worker's end of the socket pair to its supervisor.

    The event loop itself reports that it runs, so a loop that hangs falls silent. The socket is at
    its end when the supervisor is dead, and the worker then ends at once.

    Attributes:
        number: the number of the worker, from 0; one that is replaced passes it on.
    """

    def __init__(self, socket: socket.socket, number: int) -> None:
        self.number = number
        self._socket = socket
        self._server: Server
        self._loop: asyncio.AbstractEventLoop

    def attach(self, server: Server) -> None:
        """Report that `server` is ready, and pass on orders to it. Called in its event loop."""
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._order)
        self._send(READY)
        self._beat()

    def reloaded(self) -> None:
        """Report that this worker serves another configuration, so that the others reload too."""
        self._send(HANG_UP)

    def _beat(self) -> None:
        self._send(ALIVE)
        self._loop.call_later(BEAT, self._beat)

    def _send(self, report: bytes) -> None:
        # A full buffer has enough reports; a closed socket is noticed by `_order`.
        with contextlib.suppress(OSError):
            self._socket.send(report)

    def _order(self) -> None:
        try:
            orders = self._socket.recv(64)
        except BlockingIOError:
            return
        except OSError:
            orders = b""
        if not orders:
            self._loop.remove_reader(self._socket)
            self._server.end(delay=False)
            self._server.end()
        for at in range(len(orders)):
            self._obey(orders[at : at + 1])

    def _obey(self, order: bytes) -> None:
        if order == HANG_UP:
            self._server.hang_up()
            return
        if order == END:
            self._server.end(delay=False)
        self._server.end(delay=order == DRAIN)


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent dies, whatever this process does then.

    Linux only; elsewhere the end of the link does it, while the event loop runs.

    Args:
        parent: the process id of the parent, which may have died already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
