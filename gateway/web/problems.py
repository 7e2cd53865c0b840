"""Problem details (RFC 9457) for every error there is."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response

from gateway.errors import (
    CallError,
    DeadlineExceeded,
    LimiterFull,
    UpstreamStatus,
    UpstreamTimeout,
)
from gateway.values.excerpt import shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

__all__ = [
    "MEDIA_TYPE",
    "NOSNIFF",
    "invalid",
    "not_for",
    "on_bug",
    "on_http_error",
    "on_invalid_body",
    "problem",
    "status_of",
]

MEDIA_TYPE = "application/problem+json"
NOSNIFF = (b"x-content-type-options", b"nosniff")
"""What is JSON must not be taken for a page, whatever a client made it say."""

_NOT_FOUND = 404
_MOST_LISTED = 10
_MOST_CHARACTERS = 1000
_LONGEST_NAME = 64


def status_of(error: CallError) -> int:
    """Return the status that a failed required section makes of the whole answer."""
    if isinstance(error, UpstreamStatus) and error.status == _NOT_FOUND:
        return HTTPStatus.NOT_FOUND
    if isinstance(error, (UpstreamTimeout, DeadlineExceeded)):
        return HTTPStatus.GATEWAY_TIMEOUT
    if isinstance(error, LimiterFull):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.BAD_GATEWAY


def problem(
    status: int,
    detail: str,
    *,
    retry_after: float | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """Return a problem document.

    Args:
        status: HTTP status; the document's title is its phrase, as RFC 9457 section 4.2.1 asks of
            type `about:blank`.
        detail: what went wrong this time.
        retry_after: seconds after which to come back.
        headers: further header fields.
        members: extension members, such as `errors`.
    """
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        **members,
    }
    fields = {"cache-control": "no-store", **(headers or {})}
    if retry_after is not None:
        fields["retry-after"] = str(max(1, math.ceil(retry_after)))
    response = Response(orjson.dumps(body), status, fields, MEDIA_TYPE)
    response.raw_headers.append(NOSNIFF)
    return response


def not_for(method: str, path: str) -> str:
    """Return the detail of a 405."""
    return f"{shortened(method, _LONGEST_NAME)} is not for {shortened(path)}"


def invalid(wrong: Sequence[tuple[str, str]]) -> Response:
    """Return the problem 422 of a request that is not what it must be.

    It quotes what the client sent, so it is bounded: a few errors, in few characters each. It says
    how many are left out.

    Args:
        wrong: for each error the name of what it is about, and what is wrong.
    """
    listed: list[dict[str, str]] = []
    room = _MOST_CHARACTERS
    for name, detail in wrong[:_MOST_LISTED]:
        one = {"name": shortened(name, _LONGEST_NAME), "detail": shortened(detail)}
        room -= len(one["name"]) + len(one["detail"])
        if room < 0:
            break
        listed.append(one)
    more = len(wrong) - 1
    detail = f"{listed[0]['name']} {listed[0]['detail']}" + (f", and {more} more" if more else "")
    left_out = len(wrong) - len(listed)
    members: dict[str, Any] = {"left_out": left_out} if left_out else {}
    return problem(422, detail, invalid_parameters=listed, **members)


def on_http_error(request: Request, error: Exception) -> Response:
    """Turn an HTTPException of the framework (404, 405 ...) into a problem."""
    status = getattr(error, "status_code", 500)
    detail = {
        404: f"there is nothing at {shortened(request.url.path)}",
        405: not_for(request.method, request.url.path),
    }.get(status, str(getattr(error, "detail", error)))
    return problem(status, detail, headers=getattr(error, "headers", None))


def on_invalid_body(request: Request, error: Exception) -> Response:  # noqa: ARG001 - as above
    """Turn what the framework says about a body or parameter into a problem."""
    wrong = [
        (".".join(map(str, one["loc"])) or "body", str(one["msg"]))
        for one in getattr(error, "errors", list)()
    ]
    return invalid(wrong)


def on_bug(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the framework's signature
    """Answer a bug: what it is stands in the log, not in the answer."""
    return problem(500, "the gateway itself failed; the log says why")
