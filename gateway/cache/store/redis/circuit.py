"""The circuit of the shared store: one lost connection is enough to stop asking, a probe to resume.

Upstreams have a finer breaker; here every miss is cheap (the upstream is asked instead), so the
first sign of trouble opens, nobody is used as a probe, and the way back is tried in the background.
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
    """Whether the server can be asked.

    Args:
        probe: connects anew and asks for a sign of life; raises when there is none.
        events: where changes are told.
        sleep: waits between probes.
        random: uniform in [0, 1), to spread the probes of many replicas.

    Attributes:
        up: ask.
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
        """Probe once now; from then on in the background until it is up."""
        if not await self._alive():
            _log.warning(
                "the shared store cannot be reached; going on without it",
                extra={"event": "store_change", "state": "down"},
            )
            self._keep_probing()

    def trip(self, error: BaseException) -> None:
        """Stop asking because of `error`, and begin to look for the way back."""
        if not self.up:
            return
        self.up = False
        why = type(error).__name__
        _log.warning(
            "the shared store is lost (%s); going on without it", why,
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
            _log.debug("no sign of life from the shared store: %s", type(error).__name__)
            return False
        self.up = True
        _log.info("the shared store is there", extra={"event": "store_change", "state": "up"})
        if self._events.wants(StoreChange):
            self._events.emit(StoreChange("", "", up=True))
        return True
