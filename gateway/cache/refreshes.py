"""Refreshes beside the answer: bounded, one for each key, never in anybody's way."""

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
    """A refresh beside the answer has ended, or was not begun.

    Attributes:
        result: `done`; `failed`, with the old answer still there; `dropped`, as too many run.
        dashboard: the dashboard that the section is part of.
        code: that of a failure; `None` where there was none, or it was a bug, which is logged.
        status: of a failure, the upstream's HTTP status where it answered one.
        detail: of a failure, the error in one sentence.
        excerpt: of a failure, the beginning of what the upstream said.
        cause: of a failure, what the transport said.
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
        events: where they are told.
        clock: monotonic seconds, that of the deadlines.
        limit: refreshes of one upstream at once, so that one that hangs is in nobody else's way;
            more are not begun, a later request will.
        patience: seconds that one may take, as its deadline.
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
        """Ask `call` for what answers `request`, beside; return whether that was begun.

        It is not while one for the same key runs, nor shortly after one has failed: as long as an
        upstream is down, its stale answers are no reason to call it for every request.
        """
        if key in self._running:
            return False
        now = self._clock()
        if self._failed:
            if self._failed.get(key, 0.0) > now:
                return False
            self._failed.pop(key, None)
        if self._busy[upstream] >= self._limit:
            self._tell(upstream, request, "dropped")
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
        """Wait until those that run have ended."""
        if self._running:
            await asyncio.wait(self._running.values())

    async def aclose(self, grace: float = 0.0) -> None:
        """Cancel those that have not ended in `grace` seconds, and wait until they are gone."""
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
            self._tell(upstream, request, "failed", error)
        except Exception:
            _log.exception("a refresh in the background has failed by a bug of the gateway")
            self._tell(upstream, request, "failed")
        else:
            self._tell(upstream, request, "done")

    def _tell(
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
