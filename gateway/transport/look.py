"""Looks at a socket without reading it; one system call, below a microsecond."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["look_at"]


def look_at(transport: asyncio.BaseTransport | None) -> Callable[[int], object]:
    """Return what reports, called with 0, whether the socket has something to read.

    The result is true for bytes and for the end of the connection. Where the transport has no
    socket, and on Windows, which has no `poll`, nothing is ever seen.
    """
    sock = None if transport is None else transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "poll"):
        return _sees_nothing
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return poll.poll


def _sees_nothing(_milliseconds: int) -> object:
    return None
