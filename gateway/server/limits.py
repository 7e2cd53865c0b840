"""Limits on what a client may send, withhold and leave unread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from gateway.config.settings import Settings

__all__ = ["Limits", "connections_left"]

_KIBIBYTE = 1024
_ENOUGH = 100_000  # connections, where the operating system sets no limit
_OWN_FILES = 64  # listeners, logs, the event loop, pipes to worker processes, connections in linger
_LEAST_SHARE = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may do; each limit is a setting.

    Attributes:
        request_line: bytes of a request line.
        head: bytes of a request line and all header fields.
        fields: number of header fields.
        head_time: seconds until the head of a request is complete.
        body_time: seconds until the rest of a request is complete.
        idle_time: seconds that a connection stays open between two requests.
        send_time: seconds in which a client has to read some of what waits for it.
        unread_body: bytes of a request's content and trailers that no route reads.
        connections: connections of one process.
    """

    request_line: int = 16 * _KIBIBYTE
    head: int = 64 * _KIBIBYTE
    fields: int = 100
    head_time: float = 10.0
    body_time: float = 30.0
    idle_time: float = 75.0
    send_time: float = 30.0
    unread_body: int = 64 * _KIBIBYTE
    connections: int = 10_000

    @classmethod
    def of(cls, settings: Settings, *, upstream_connections: int) -> Self:
        """Return the limits that the settings declare.

        Args:
            settings: settings of the process.
            upstream_connections: most connections that the process opens by itself.
        """
        return cls(
            request_line=settings.max_request_line,
            head=settings.max_request_head,
            fields=settings.max_request_fields,
            head_time=settings.head_timeout,
            body_time=settings.body_timeout,
            idle_time=settings.keep_alive,
            send_time=settings.send_timeout,
            unread_body=settings.max_unread_body,
            connections=settings.max_connections or connections_left(upstream_connections),
        )


def connections_left(upstream_connections: int) -> int:
    """Return how many clients the process's limit of open files leaves room for.

    A quarter of the files is always for clients, because upstreams seldom reach their limits.
    """
    files = _open_files()
    return max(files - upstream_connections - _OWN_FILES, files // _LEAST_SHARE, 1)


def _open_files() -> int:
    try:
        import resource  # noqa: PLC0415 - Windows has no such module, and no such limit
    except ImportError:
        return _ENOUGH
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if soft == resource.RLIM_INFINITY else min(soft, _ENOUGH)
