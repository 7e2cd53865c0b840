"""Events: what happens inside the gateway, as data for metrics, tracing, logs and the console.

An event is created only when a listener wants its kind, so a gateway without listeners pays one
dictionary lookup.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.errors import CallError, ErrorCode

__all__ = [
    "Attempt",
    "BreakerChange",
    "Cause",
    "CoolDown",
    "Event",
    "Events",
    "Hedge",
    "LimitChange",
    "Listener",
    "Rejection",
    "Retry",
    "SectionFailed",
    "cause_of",
]

_log = logging.getLogger("gateway.events")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at one upstream on behalf of one section."""

    upstream: str
    section: str


class Cause(TypedDict):
    """The fields of an error that events carry; `CallError` documents them."""

    code: ErrorCode
    status: int | None
    detail: str
    excerpt: str
    cause: str


def cause_of(error: CallError) -> Cause:
    """Return the fields of `error` that events carry."""
    return {
        "code": error.code,
        "status": error.status,
        "detail": error.detail,
        "excerpt": error.excerpt,
        "cause": error.cause,
    }


@dataclass(frozen=True, slots=True)
class Attempt(Event):
    """One request was sent and ended.

    Attributes:
        attempt: 1 for the first, counting retries and hedges.
        duration: seconds from start to outcome.
        code: `None` for a good answer.
        status: the HTTP status where there was one.
        cancelled: the caller no longer wanted the answer.
        dashboard: the dashboard that the section is part of.
        operation: the operation, such as `GET /users/1`; it contains the values of parameters.
        detail: the error in one sentence; empty for a good answer.
        excerpt: the beginning of a bad answer.
        cause: the transport's error where there was no answer.
    """

    attempt: int
    duration: float
    code: ErrorCode | None
    status: int | None
    cancelled: bool = False
    dashboard: str = ""
    operation: str = ""
    detail: str = ""
    excerpt: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class SectionFailed(Event):
    """A section, or elements of its list, failed; one event for each kind of error.

    Attributes:
        dashboard: the dashboard that the section is part of.
        state: the state of the section in the answer: `failed`, `fallback`, `stale` where a stored
            value is served instead, `ok` where only elements of a list failed.
        count: elements that failed with this error; 1 where the section is not a list.
        code: the public reason.
        status: the upstream's HTTP status, if it sent one.
        detail: the error in one sentence.
        excerpt: the beginning of a bad answer.
        cause: the transport's error where there was no answer.
    """

    dashboard: str
    state: str
    count: int
    code: ErrorCode
    status: int | None
    detail: str
    excerpt: str
    cause: str


@dataclass(frozen=True, slots=True)
class Retry(Event):
    """A failed attempt is retried after `delay` seconds; `attempt` numbers the next one."""

    attempt: int
    delay: float
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class Hedge(Event):
    """A second attempt was started in parallel with a slow first one, after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Rejection(Event):
    """A call was refused before it was sent, or not retried; `why` names the mechanism."""

    code: ErrorCode
    why: str


@dataclass(frozen=True, slots=True)
class BreakerChange(Event):
    """A breaker changed its state: `closed`, `open`, `half_open`.

    Attributes:
        before: the previous state.
        after: the new state.
        open_for: seconds for which it refuses calls, if it opened.
        code: the code of the failure that opened it.
        status: the HTTP status of that failure, if there was one.
        detail: that failure in one sentence.
        excerpt: the beginning of that bad answer.
        cause: the transport's error of that failure.
    """

    before: str
    after: str
    open_for: float | None = None
    code: ErrorCode | None = None
    status: int | None = None
    detail: str = ""
    excerpt: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class CoolDown(Event):
    """The upstream sent a Retry-After; the gateway does not call it for `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class LimitChange(Event):
    """An adaptive concurrency limit changed."""

    before: int
    after: int


Listener = "Callable[[Event], None]"


E = TypeVar("E", bound=Event)


class _Subscription(NamedTuple):
    listener: Callable[[Any], None]
    kinds: tuple[type[Event], ...]
    when: Callable[[], bool] | None


class Events:
    """The listeners, by the kinds of events that they want.

    Emitters check first, so that an event that no listener wants is never created::

        if events.wants(Retry):
            events.emit(Retry(...))
    """

    __slots__ = ("_by_kind", "_subscriptions")

    def __init__(self, listeners: Iterable[Callable[[Event], None]] = ()) -> None:
        self._subscriptions: list[_Subscription] = []
        self._by_kind: dict[type[Event], tuple[_Subscription, ...]] = {}
        for listener in listeners:
            self.listen(listener)

    def listen(
        self,
        listener: Callable[[E], None],
        *kinds: type[E],
        when: Callable[[], bool] | None = None,
    ) -> None:
        """Call `listener` with events from now on.

        Args:
            listener: called with each event; it must not block.
            kinds: classes of events that it wants; all where none is named.
            when: called for each event; returns whether the listener wants it now.
        """
        self._subscriptions.append(_Subscription(listener, kinds or (Event,), when))
        self._by_kind = {}

    def wants(self, kind: type[Event]) -> bool:
        """Return whether any listener wants events of `kind` now."""
        found = self._by_kind.get(kind)
        if found is None:
            found = self._for(kind)
        for subscription in found:  # noqa: SIM110 - `any` takes twice the time
            if subscription.when is None or subscription.when():
                return True
        return False

    def emit(self, event: Event) -> None:
        """Call every listener that wants `event`; log those that raise, and call the others."""
        for listener, _, when in self._for(type(event)):
            try:
                if when is None or when():
                    listener(event)
            except Exception:
                _log.exception("an event listener raised an exception for %r", event)

    def _for(self, kind: type[Event]) -> tuple[_Subscription, ...]:
        found = self._by_kind.get(kind)
        if found is None:
            found = self._by_kind[kind] = tuple(
                subscription
                for subscription in self._subscriptions
                if issubclass(kind, subscription.kinds)
            )
        return found
