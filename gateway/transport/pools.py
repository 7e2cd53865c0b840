"""The pools of a transport: one for each origin, made when the origin is first called."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from gateway.transport.failures import closed_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.transport.origin import Origin

__all__ = ["PoolLimits", "Pools"]

_MANY = 64


class PoolLimits(NamedTuple):
    """Limits on the connections to one origin.

    Attributes:
        max_connections: connections; further calls wait in a queue.
        max_idle: idle connections; by default all of them.
        idle_age: seconds after which an idle connection is closed; choose less than the upstreams'
            keep-alive timeout.
        connect_timeout: seconds for TCP and TLS.
        quarantine: seconds for which HTTP/1.1 connections are not reused after bytes that answer no
            request; doubled each time, up to an hour.
    """

    max_connections: int = 100
    max_idle: int | None = None
    idle_age: float = 30.0
    connect_timeout: float = 5.0
    quarantine: float = 60.0

    @property
    def most_idle(self) -> int:
        """Idle connections at most."""
        return self.max_connections if self.max_idle is None else self.max_idle


class _Pool(Protocol):
    @property
    def slots(self) -> int: ...

    @property
    def quarantined(self) -> bool: ...

    async def aclose(self) -> None: ...


P = TypeVar("P", bound=_Pool)


class Pools(dict[tuple[str, str, int, str], P]):
    """Pools by the keys of their origins.

    Args:
        make: returns a new pool for an origin.
    """

    def __init__(self, make: Callable[[Origin], P]) -> None:
        super().__init__()
        self._make = make
        self._closed = False

    def open(self, origin: Origin) -> P:
        """Return a new pool for `origin`.

        Raises `httpx.ConnectError` when the transport is closed.
        """
        if self._closed:
            raise closed_failure()
        if len(self) >= _MANY:
            # A client that calls ever new origins must not accumulate pools.
            for key, pool in tuple(self.items()):
                if not (pool.slots or pool.quarantined):
                    del self[key]
        pool = self[origin.key] = self._make(origin)
        return pool

    async def aclose(self) -> None:
        """Close every pool; calls in flight fail, and so do later ones."""
        self._closed = True
        for pool in tuple(self.values()):
            await pool.aclose()
