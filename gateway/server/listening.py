"""The listening sockets: how they open, and how they close without losing a connection."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import select
import socket
import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["listen", "readable", "repeated", "turn_away"]

_SO_ATTACH_FILTER = 26
_FLAGS_AT = 13  # of a TCP header
_SYN = 0x02
_ACCEPTS = 8
_UNSENT = 256 * 1024
"""Bytes of answers that the system takes for a connection beyond what is on its way to the client.

By default it takes 4 MB and more: copying them for a client that does not read takes 20 ms.
"""
# Classic BPF: (operation, jump if true, jump if false, operand).
_DROP_SYN = (
    (0x30, 0, 0, _FLAGS_AT),  # load the byte with the flags
    (0x45, 0, 1, _SYN),  # a SYN: next instruction; anything else: skip it
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # accept
)


def listen(host: str, port: int, *, backlog: int = 4096) -> list[socket.socket]:
    """Listen on every address of `host`.

    Args:
        host: an address or a name; empty for all addresses of this machine.
        port: 0 lets the system choose a free one.
        backlog: most connections that wait to be accepted.

    Raises:
        OSError: the address is in use, does not belong to this machine, or the name is unknown.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # the connections inherit it
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
            listener.bind(address)
            listener.listen(backlog)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRNOTAVAIL:  # such as ::1 of `localhost` without IPv6
                absent = error
                continue
            for opened in listeners:
                opened.close()
            raise
        listener.setblocking(False)
        listeners.append(listener)
    if not listeners and absent is not None:
        raise absent
    return listeners


def repeated(listeners: Iterable[socket.socket]) -> list[socket.socket]:
    """Return each listening socket several times, and close them all to close one.

    uvloop accepts one connection of each in a turn of the loop. A thousand clients that connect at
    once would keep the next one, which may be a health check, waiting for a thousand turns.
    """
    return [
        listener if number == 0 else listener.dup()
        for listener in listeners
        for number in range(_ACCEPTS)
    ]


def turn_away(listeners: Iterable[socket.socket]) -> bool:
    """Ignore new connections from now on; those under way can still be accepted.

    Closing a listening socket resets every connection that waits in its queue, and until the moment
    of closing another one may arrive there. A socket filter that drops only SYN packets lets the
    queue run dry first. A client whose SYN is dropped sends it again after a second, and is refused
    then: it knows that nothing of its request was processed.

    Returns:
        whether the system supports it (Linux does).
    """
    if sys.platform != "linux":
        return False
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_SYN)
    memory = ctypes.create_string_buffer(program)
    option = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(memory))
    try:
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
    except OSError:
        return False
    return True


def readable(descriptors: Sequence[int]) -> set[int]:
    """Return those with something to read or to accept at this moment."""
    poll = select.poll()
    for descriptor in descriptors:
        with contextlib.suppress(ValueError):  # closed: -1
            poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(0)}
