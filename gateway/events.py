"""What happens inside, told as data: metrics, tracing, logs and the console only listen.

An event is made only when somebody listens, so that an unobserved gateway pays one truth test.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.errors import ErrorCode

__all__ = [
    "Attempt",
    "BreakerChange",
    "CoolDown",
    "Event",
    "Events",
    "Hedge",
    "LimitChange",
    "Listener",
    "Rejection",
    "Retry",
]

_log = logging.getLogger("gateway.events")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at one upstream while it worked for one section."""

    upstream: str
    section: str


@dataclass(frozen=True, slots=True)
class Attempt(Event):
    """One request was sent and came to an end.

    Attributes:
        attempt: 1 for the first, counting retries and hedges.
        duration: seconds from start to outcome.
        code: `None` for a good answer.
        status: the HTTP status where there was one.
        cancelled: nobody wanted the answer any more.
    """

    attempt: int
    duration: float
    code: ErrorCode | None
    status: int | None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Retry(Event):
    """A failed attempt will be repeated after `delay` seconds; `attempt` is the one to come."""

    attempt: int
    delay: float
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Hedge(Event):
    """A second attempt was started beside a slow first one, after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Rejection(Event):
    """A call was refused before it was sent, or not repeated; `why` names the mechanism."""

    code: ErrorCode
    why: str


@dataclass(frozen=True, slots=True)
class BreakerChange(Event):
    """A breaker went from one state to another: `closed`, `open`, `half_open`."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class CoolDown(Event):
    """The upstream has asked to be left alone for `delay` seconds, and will be."""

    delay: float


@dataclass(frozen=True, slots=True)
class LimitChange(Event):
    """An adaptive limiter allows another number of calls at once."""

    before: int
    after: int


Listener = "Callable[[Event], None]"


class Events:
    """The list of listeners; false while it is empty, so that emitters can skip the making.

    ::

        if events:
            events.emit(Retry(...))
    """

    __slots__ = ("_listeners",)

    def __init__(self, listeners: Iterable[Callable[[Event], None]] = ()) -> None:
        self._listeners = list(listeners)

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with every event from now on."""
        self._listeners.append(listener)

    def emit(self, event: Event) -> None:
        """Tell every listener; one that raises is logged and harms neither call nor others."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                _log.exception("an event listener raised on %r", event)
