"""The log of events: writes failures, breaker changes and recoveries as log lines for an operator.

Failures of sections are logged at a bounded rate: the first of its kind at once, then one line in
`every` seconds with the count of those left out. Attempts are logged at debug level only, and no
event is made for them at any other level. Each line is readable as text, and its parts are members
of their own in JSON logs. Header values and request bodies are never logged; the path and query of
a request are logged at debug level only.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.cache.refreshes import Refresh
from gateway.events import Attempt, BreakerChange, SectionFailed
from gateway.telemetry.repeated_lines import RepeatedLines
from gateway.values.excerpt import one_line

if TYPE_CHECKING:
    from gateway.call import Clock
    from gateway.errors import ErrorCode
    from gateway.events import Events

__all__ = ["EventLog"]

_sections = logging.getLogger("gateway.section")
_upstreams = logging.getLogger("gateway.upstream")

_BECAME = {
    "failed": "failed",
    "fallback": "failed and its fallback is served",
    "stale": "failed and a stored value is served",
}
_MOST_DETAIL = 1024  # long enough for an exposed excerpt


class EventLog:
    """Listens to events and logs those that an operator needs.

    Args:
        every: seconds in which failures of one kind (dashboard, section, upstream, code) make at
            most one line.
        most: most kinds of failures that are tracked at once; beyond it failures of one code share
            a line, so that memory and rate stay bounded for any configuration.
        clock: monotonic seconds.
    """

    __slots__ = ("_lines",)

    def __init__(
        self, *, every: float = 10.0, most: int = 1000, clock: Clock = time.monotonic
    ) -> None:
        self._lines = RepeatedLines(every=every, most=most, clock=clock)

    def listen_to(self, events: Events) -> None:
        """Log the events of `events` from now on, each kind while its level is enabled."""
        warnings = partial(_sections.isEnabledFor, logging.WARNING)
        events.listen(self._failed, SectionFailed, when=warnings)
        events.listen(self._refreshed, Refresh, when=warnings)
        events.listen(_write_breaker, BreakerChange)
        attempts = partial(_upstreams.isEnabledFor, logging.DEBUG)
        events.listen(_write_attempt, Attempt, when=attempts)

    async def aclose(self) -> None:
        """Write the counts of what was left out so far."""
        self._lines.close()

    def _failed(self, event: SectionFailed) -> None:
        key = (event.code, event.dashboard, event.section, event.upstream)
        self._lines.add(key, _Failure(event, event.code))

    def _refreshed(self, event: Refresh) -> None:
        if event.code is not None:
            key = (event.code, event.dashboard, event.section, event.upstream, "refresh")
            self._lines.add(key, _Failure(event, event.code))


class _Failure:
    """One failure, ready to be written."""

    __slots__ = ("_code", "_event")

    def __init__(self, event: SectionFailed | Refresh, code: ErrorCode) -> None:
        self._event = event
        self._code = code

    def write(self, more: int) -> None:
        """Write it, with the count of those that were left out before it."""
        event = self._event
        if isinstance(event, Refresh):
            name, state, count = "refresh_failed", "", 1
            became = "could not be refreshed in the background"
        else:
            name, state, count = "section_failed", event.state, event.count
            became = _BECAME.get(state) or f"has {count} failed elements"
        where = f"{event.dashboard}.{event.section}" if event.dashboard else event.section
        blamed = f"upstream {event.upstream}, " if event.upstream else ""
        since = f"; and {more} more since the last line" if more else ""
        _sections.warning(
            "section %s %s: %s%s%s",
            where,
            became,
            blamed,
            _reason(event, self._code),
            since,
            extra=_members(
                event=name,
                dashboard=event.dashboard,
                section=event.section,
                upstream=event.upstream,
                state=state,
                elements=count if count > 1 else None,
                **_cause(event, self._code),
                more=more or None,
            ),
        )


def _write_breaker(event: BreakerChange) -> None:
    members = {"event": "breaker_change", "upstream": event.upstream, "state": event.after,
               "before": event.before}  # fmt: skip
    if event.after == "open" and event.code is not None and event.open_for is not None:
        why = "too many calls failed" if event.before == "closed" else "it still fails"
        _upstreams.warning(
            "upstream %s: the breaker is open and refuses calls for %.1f s, as %s; the last one: "
            "%s",
            event.upstream,
            event.open_for,
            why,
            _reason(event, event.code),
            extra=_members(
                **members,
                section=event.section,
                open_for=round(event.open_for, 3),
                **_cause(event, event.code),
            ),
        )
    elif event.after == "closed":
        _upstreams.info(
            "upstream %s: the breaker is closed, the upstream has recovered", event.upstream,
            extra=members,
        )  # fmt: skip
    else:
        _upstreams.info(
            "upstream %s: the breaker is half open and lets a few calls through", event.upstream,
            extra=members,
        )  # fmt: skip


def _write_attempt(event: Attempt) -> None:
    if event.code is not None:
        end = _reason(event, event.code)
    else:
        end = "cancelled" if event.cancelled else f"status {event.status}"
    _upstreams.debug(
        "upstream %s: attempt %d for %s.%s, %s, %.1f ms: %s",
        event.upstream,
        event.attempt,
        event.dashboard,
        event.section,
        event.operation,
        event.duration * 1000,
        end,
        extra=_members(
            event="attempt",
            dashboard=event.dashboard,
            section=event.section,
            upstream=event.upstream,
            attempt=event.attempt,
            duration=round(event.duration, 6),
            operation=event.operation,
            cancelled=event.cancelled or None,
            **_cause(event, event.code),
        ),
    )


def _reason(event: Attempt | BreakerChange | Refresh | SectionFailed, code: ErrorCode) -> str:
    """Return why it failed, on one line whatever the upstream and the transport reported."""
    status = f" (status {event.status})" if event.status is not None else ""
    text = f"{code}{status}: {one_line(event.detail, _MOST_DETAIL)}"
    if event.cause:
        text = f"{text} ({event.cause})"
    if event.excerpt and not event.detail.endswith(event.excerpt):
        text = f"{text}; it said: {event.excerpt}"
    return text


def _cause(
    event: Attempt | BreakerChange | Refresh | SectionFailed, code: ErrorCode | None
) -> dict[str, Any]:
    return {
        "code": code.value if code is not None else None,
        "status": event.status,
        "detail": event.detail,
        "cause": event.cause,
        "excerpt": event.excerpt,
    }


def _members(**members: Any) -> dict[str, Any]:
    """Return the members that are not empty."""
    return {name: value for name, value in members.items() if value not in (None, "")}
