"""Refused requests: what the server itself answers, before any application sees the request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from gateway.web.problems import problem

if TYPE_CHECKING:
    from starlette.responses import Response

__all__ = ["ClientLine", "Refusal"]

_log = logging.getLogger("gateway.server")


class Refusal(Exception):
    """A request, or what should have been one, that is answered with a problem and the end.

    Attributes:
        status: HTTP status.
        detail: what is wrong, for the client and for the log.
        retry_after: seconds after which the client may retry.
    """

    def __init__(self, status: int, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after

    def problem(self) -> Response:
        """Return the answer."""
        return problem(self.status, self.detail, retry_after=self.retry_after)


class ClientLine:
    """A log line about a client that was refused or cut off.

    Args:
        event: `client_refused` or `client_cut_off`.
        client: address of the client.
        detail: what it did.
        status: status of the answer, if there was one.
    """

    __slots__ = ("_client", "_detail", "_event", "_status")

    def __init__(self, event: str, client: str, detail: str, status: int | None = None) -> None:
        self._event = event
        self._client = client
        self._detail = detail
        self._status = status

    def write(self, more: int) -> None:
        """Write it, with the count of those that were left out before it."""
        members: dict[str, Any] = {
            "event": self._event,
            "client": self._client,
            "detail": self._detail,
        }
        if self._status is not None:
            members["status"] = self._status
        if more:
            members["more"] = more
        done = f"refused with {self._status}" if self._status is not None else "cut off"
        since = f"; and {more} more since the last line" if more else ""
        _log.warning(
            "client %s was %s: %s%s", self._client, done, self._detail, since, extra=members
        )
