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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

__all__ = [
    "MEDIA_TYPE",
    "on_bug",
    "on_http_error",
    "on_invalid_body",
    "problem",
    "status_of",
]

MEDIA_TYPE = "application/problem+json"
_NOT_FOUND = 404


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
    return Response(orjson.dumps(body), status, fields, MEDIA_TYPE)


def on_http_error(request: Request, error: Exception) -> Response:
    """Turn an HTTPException of the framework (404, 405 ...) into a problem."""
    status = getattr(error, "status_code", 500)
    detail = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.method} is not for {request.url.path}",
    }.get(status, str(getattr(error, "detail", error)))
    return problem(status, detail, headers=getattr(error, "headers", None))


def on_invalid_body(request: Request, error: Exception) -> Response:  # noqa: ARG001 - as above
    """Turn what the framework says about a body or parameter into a problem."""
    told = [
        {"name": ".".join(map(str, one["loc"])), "detail": str(one["msg"])}
        for one in getattr(error, "errors", list)()
    ]
    detail = "; ".join(f"{one['name']}: {one['detail']}" for one in told)
    return problem(422, detail, invalid_parameters=told)


def on_bug(request: Request, error: Exception) -> Response:  # noqa: ARG001 - the framework's signature
    """Answer a bug: what it is stands in the log, not in the answer."""
    return problem(500, "the gateway itself failed; the log says why")
