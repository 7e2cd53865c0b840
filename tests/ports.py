"""Ports for servers that tests start, safe from other tests and from other processes.

A port that was merely free a moment ago may be given to somebody else before the server listens on
it. One with a connection in TIME_WAIT is given to no one who asks for any port, for a minute, and
can still be bound by number (with SO_REUSEADDR, which every server here sets).
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["refused", "reserved_port"]

_LAST = 65_535


def reserved_port(also: int = 0) -> int:
    """Return a port of the loopback for a server to listen on.

    Args:
        also: reserves the port so many above, too: the bus of a Redis Cluster is 10,000 above.
    """
    for _ in range(100):
        port = _reserve(0)
        if not also:
            return port
        if port + also <= _LAST:
            with contextlib.suppress(OSError):
                _reserve(port + also)
                return port
    raise RuntimeError("no port is free")


def _reserve(port: int) -> int:
    with socket.socket() as listener, socket.socket() as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.close()  # first, so that TIME_WAIT is on this side
        taken: int = listener.getsockname()[1]
        return taken


@contextlib.contextmanager
def refused() -> Iterator[int]:
    """Give a port that refuses connections: it is bound, and no one listens on it."""
    with socket.socket() as bound:
        bound.bind(("0.0.0.0", 0))
        yield bound.getsockname()[1]
