"""Background refreshes of cached answers: bounded, at most one for each key."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.call import Deadline
from gateway.errors import CallError
from gateway.events import Event, cause_of

if TYPE_CHECKING:
    from gateway.call import Call, Clock, Request
    from gateway.errors import ErrorCode
    from gateway.events import Events

__all__ = ["Refresh", "Refreshes"]

_log = logging.getLogger("gateway.cache")

_HOLD_OFF = 1.0
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Refresh(Event):
    """A background refresh has ended, or was not started.

    Attributes:
        result: `done`; `failed`, with the old answer still stored; `dropped`, because too many run.
        dashboard: the dashboard that the section is part of.
        code: the code of a failure; `None` without a failure, or for a bug, which is logged.
        status: on a failure, the upstream's HTTP status, if it sent one.
        detail: on a failure, the error in one sentence.
        excerpt: on a failure, the beginning of the bad answer.
        cause: on a failure, the transport's error.
    """

    result: str
    dashboard: str = ""
    code: ErrorCode | None = None
    status: int | None = None
    detail: str = ""
    excerpt: str = ""
    cause: str = ""


class Refreshes:
    """The refreshes of one process, for all upstreams.

    Args:
        events: receives refreshes.
        clock: monotonic seconds, the clock of the deadlines.
        limit: concurrent refreshes of one upstream, so that a hanging one does not block others;
            further ones are dropped, and a later request starts them.
        patience: deadline of a refresh in seconds.
    """

    __slots__ = ("_busy", "_clock", "_events", "_failed", "_limit", "_patience", "_running")

    def __init__(
        self, *, events: Events, clock: Clock, limit: int = 32, patience: float = 10.0
    ) -> None:
        self._events = events
        self._clock = clock
        self._limit = limit
        self._patience = patience
        self._running: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._failed: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._running)

    def start(self, key: str, call: Call, request: Request, upstream: str) -> bool:
        """Refresh the answer to `request` in the background; return whether a refresh was started.

        It is not started while one for the same key runs, nor shortly after one has failed: an
        upstream that is down must not be called for every request for a stale answer.
        """
        if key in self._running:
            return False
        now = self._clock()
        if self._failed:
            if self._failed.get(key, 0.0) > now:
                return False
            self._failed.pop(key, None)
        if self._busy[upstream] >= self._limit:
            self._emit(upstream, request, "dropped")
            return False
        own = request.again(1)
        own.deadline = Deadline(now + self._patience)
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._refresh(key, call, own, upstream))
        self._running[key] = task
        self._busy[upstream] += 1
        task.add_done_callback(lambda _: self._ended(key, upstream))
        return True

    def _ended(self, key: str, upstream: str) -> None:
        del self._running[key]
        self._busy[upstream] -= 1

    async def drain(self) -> None:
        """Wait until the running refreshes have ended."""
        if self._running:
            await asyncio.wait(self._running.values())

    async def aclose(self, grace: float = 0.0) -> None:
        """Cancel the refreshes that do not end in `grace` seconds, and await them."""
        tasks = list(self._running.values())
        if tasks and grace:
            _, late = await asyncio.wait(tasks, timeout=grace)
            tasks = list(late)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _refresh(self, key: str, call: Call, request: Request, upstream: str) -> None:
        try:
            await call(request)
        except CallError as error:
            if len(self._failed) >= _REMEMBERED:
                self._failed.clear()
            self._failed[key] = self._clock() + _HOLD_OFF
            self._emit(upstream, request, "failed", error)
        except Exception:
            _log.exception("a background refresh failed because of a bug in the gateway")
            self._emit(upstream, request, "failed")
        else:
            self._emit(upstream, request, "done")

    def _emit(
        self, upstream: str, request: Request, result: str, error: CallError | None = None
    ) -> None:
        if not self._events.wants(Refresh):
            return
        section, dashboard = request.section, request.dashboard
        if error is None:
            event = Refresh(upstream, section, result, dashboard)
        else:
            event = Refresh(upstream, section, result, dashboard, **cause_of(error))
        self._events.emit(event)
