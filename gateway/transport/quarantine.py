"""The quarantine of an origin that sent unsolicited bytes: its connections are not reused."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Quarantine", "answers_nothing"]

_log = logging.getLogger("gateway.transport")

_LONGEST = 3600.0
# A server may say 408 before it closes an idle connection (RFC 9110 section 15.5.9).
_GOODBYES = (b"HTTP/1.1 408", b"HTTP/1.0 408")


def answers_nothing(data: bytes) -> bool:
    """Return whether unsolicited bytes are surplus: not just line breaks or a 408 answer."""
    return bool(data.strip(b"\r\n")) and not data.startswith(_GOODBYES)


class Quarantine:
    """The time for which connections to one origin serve one request each.

    HTTP/1.1 does not number answers: bytes that arrive after the next request was sent are read as
    its answer. An origin that sent bytes which answer no request may do so again at that moment, so
    its connections are not reused for a while. Each further quarantine lasts twice as long, up to
    an hour; an hour without surplus bytes resets the length. Each start is logged once.

    Args:
        origin: scheme, host and port, for the log.
        seconds: length of the first quarantine; 0 disables quarantines.
        clock: monotonic seconds.

    Attributes:
        until: the time at which the current or last quarantine ends; 0 if there was none.
        offences: how many times surplus bytes were reported.
    """

    __slots__ = ("_clock", "_length", "_origin", "_seconds", "offences", "until")

    def __init__(self, origin: str, *, seconds: float, clock: Callable[[], float]) -> None:
        self._origin = origin
        self._seconds = seconds
        self._length = 0.0
        self._clock = clock
        self.until = 0.0
        self.offences = 0

    @property
    def active(self) -> bool:
        """Whether connections must not be reused now."""
        return self.until > 0 and self._clock() < self.until

    def report(self) -> None:
        """Record that the origin sent bytes which answer no request."""
        self.offences += 1
        if self.active or not self._seconds:
            return
        now = self._clock()
        repeated = self.until > 0 and now < self.until + _LONGEST
        self._length = min(self._length * 2, _LONGEST) if repeated else self._seconds
        self.until = now + self._length
        _log.warning(
            "%s sent bytes that answer no request (%d times so far). Its connections are not "
            "reused for %.0f s. Find out what writes more than one answer to a request.",
            self._origin,
            self.offences,
            self._length,
        )
