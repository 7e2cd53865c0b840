"""The circuit breaker of the shared store: opens at the first lost connection, closes by a probe.

It is simpler than the breaker of upstreams because a cache miss is cheap: the first connection
error opens it, and a task in the background probes the server, never a request.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.aio.bounded import bounded
from gateway.aio.tasks import cancel_until_gone
from gateway.cache.store.base import StoreChange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.call import Sleep
    from gateway.events import Events

__all__ = ["Circuit"]

_log = logging.getLogger("gateway.store")

_FIRST = 0.05
_LONGEST = 1.0
_PATIENCE = 1.0


class Circuit:
    """Whether the server can be used.

    Args:
        probe: opens a new connection and pings the server; raises when that fails.
        events: receives changes.
        sleep: waits between probes.
        random: uniform in [0, 1), to spread the probes of many replicas.

    Attributes:
        up: the server can be used.
    """

    __slots__ = ("_events", "_probe", "_prober", "_random", "_sleep", "up")

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        *,
        events: Events,
        sleep: Sleep,
        random: Callable[[], float],
    ) -> None:
        self._probe = probe
        self._events = events
        self._sleep = sleep
        self._random = random
        self._prober: asyncio.Task[None] | None = None
        self.up = False

    async def open(self) -> None:
        """Probe once now, then in the background until the server is up."""
        if not await self._alive():
            _log.warning(
                "the shared store is unreachable; continuing without it",
                extra={"event": "store_change", "state": "down"},
            )
            self._keep_probing()

    def trip(self, error: BaseException) -> None:
        """Stop using the server because of `error`, and start probing it."""
        if not self.up:
            return
        self.up = False
        why = type(error).__name__
        _log.warning(
            "the connection to the shared store is lost (%s); continuing without it", why,
            extra={"event": "store_change", "state": "down", "cause": why},
        )  # fmt: skip
        if self._events.wants(StoreChange):
            self._events.emit(StoreChange("", "", up=False, why=why))
        self._keep_probing()

    async def aclose(self) -> None:
        """Stop probing."""
        self.up = False
        if self._prober is not None:
            await cancel_until_gone([self._prober])

    def _keep_probing(self) -> None:
        self._prober = asyncio.get_running_loop().create_task(self._recover())

    async def _recover(self) -> None:
        delay = _FIRST
        while True:
            await self._sleep(delay * (0.5 + self._random() / 2))
            if await self._alive():
                return
            delay = min(delay * 2, _LONGEST)

    async def _alive(self) -> bool:
        try:
            await bounded(self._probe(), _PATIENCE)
        except Exception as error:
            _log.debug("a probe of the shared store failed: %s", type(error).__name__)
            return False
        self.up = True
        _log.info("the shared store is reachable", extra={"event": "store_change", "state": "up"})
        if self._events.wants(StoreChange):
            self._events.emit(StoreChange("", "", up=True))
        return True
