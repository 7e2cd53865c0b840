"""What happens inside, as data: metrics, tracing, logs and the console only listen.

An event is made only when a listener wants its kind, so that an unobserved gateway pays one look
into a dictionary.
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
    """Something that happened at one upstream while it worked for one section."""

    upstream: str
    section: str


class Cause(TypedDict):
    """The parts of an error that events carry; see `CallError` for what they mean."""

    code: ErrorCode
    status: int | None
    detail: str
    excerpt: str
    cause: str


def cause_of(error: CallError) -> Cause:
    """Return what an event says about `error`."""
    return {
        "code": error.code,
        "status": error.status,
        "detail": error.detail,
        "excerpt": error.excerpt,
        "cause": error.cause,
    }


@dataclass(frozen=True, slots=True)
class Attempt(Event):
    """One request was sent and came to an end.

    Attributes:
        attempt: 1 for the first, counting retries and hedges.
        duration: seconds from start to outcome.
        code: `None` for a good answer.
        status: the HTTP status where there was one.
        cancelled: the answer was no longer wanted.
        dashboard: the dashboard that the section is part of.
        operation: what the upstream was asked, such as `GET /users/1`; it holds the values of
            parameters.
        detail: the error in one sentence; empty for a good answer.
        excerpt: the beginning of what the upstream said, where it gave a bad answer.
        cause: what the transport said, where there was no answer.
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
    """A section, or elements of its list, came to an error; one event for each kind of error.

    Attributes:
        dashboard: the dashboard that the section is part of.
        state: what the answer says of the section all the same: `failed`, `fallback`, `stale` where
            a stored value stands in, `ok` where only elements of a list failed.
        count: elements that failed so; 1 where the section is not a list.
        code: the public reason.
        status: the upstream's HTTP status where it answered one.
        detail: the error in one sentence.
        excerpt: the beginning of what the upstream said, where it gave a bad answer.
        cause: what the transport said, where there was no answer.
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
    """A breaker went from one state to another: `closed`, `open`, `half_open`.

    Attributes:
        before: the state that it was in.
        after: the state that it is in.
        open_for: seconds for which it refuses calls, where it has opened.
        code: that of the failure at which it opened.
        status: likewise, the upstream's HTTP status where it answered one.
        detail: likewise, the error in one sentence.
        excerpt: likewise, the beginning of what the upstream said.
        cause: likewise, what the transport said.
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
    """The upstream has asked to be left alone for `delay` seconds, and will be."""

    delay: float


@dataclass(frozen=True, slots=True)
class LimitChange(Event):
    """An adaptive limiter allows another number of calls at once."""

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

    Emitters ask first, so that an event that no listener wants is not even made::

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
            when: asked each time whether it wants them just now.
        """
        self._subscriptions.append(_Subscription(listener, kinds or (Event,), when))
        self._by_kind = {}

    def wants(self, kind: type[Event]) -> bool:
        """Return whether any listener wants events of `kind` just now."""
        found = self._by_kind.get(kind)
        if found is None:
            found = self._for(kind)
        for subscription in found:  # noqa: SIM110 - `any` takes twice the time
            if subscription.when is None or subscription.when():
                return True
        return False

    def emit(self, event: Event) -> None:
        """Call every listener that wants `event`; one that raises is logged and harms no other."""
        for listener, _, when in self._for(type(event)):
            try:
                if when is None or when():
                    listener(event)
            except Exception:
                _log.exception("an event listener raised on %r", event)

    def _for(self, kind: type[Event]) -> tuple[_Subscription, ...]:
        found = self._by_kind.get(kind)
        if found is None:
            found = self._by_kind[kind] = tuple(
                subscription
                for subscription in self._subscriptions
                if issubclass(kind, subscription.kinds)
            )
        return found
