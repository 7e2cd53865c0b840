"""Problem details (RFC 9457): the JSON document of every error answer."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
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

    from fastapi import FastAPI
    from starlette.requests import Request

__all__ = [
    "BUSY",
    "MEDIA_TYPE",
    "NOSNIFF",
    "answer_with_problems",
    "bug",
    "invalid",
    "not_for",
    "on_bug",
    "on_http_error",
    "on_invalid_body",
    "overloaded",
    "problem",
    "status_of",
]

MEDIA_TYPE = "application/problem+json"
NOSNIFF = (b"x-content-type-options", b"nosniff")
"""Browsers must not render JSON as a page, whatever client input it quotes."""

_NOT_FOUND = 404
_MOST_LISTED = 10
_MOST_CHARACTERS = 1000
_LONGEST_NAME = 64


def status_of(error: CallError) -> int:
    """Return the status of an answer whose required section failed."""
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
        status: HTTP status; the title is its phrase, as RFC 9457 section 4.2.1 requires for the
            type `about:blank`.
        detail: what went wrong in this request.
        retry_after: seconds after which the client may retry.
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


BUSY = problem(503, "the gateway has more requests than it can answer in time", retry_after=1)
"""The answer to a request that was not begun; made once, so that it costs no more than a hit."""


def overloaded(errors: Sequence[Mapping[str, Any]]) -> Response:
    """Return the 503 problem of an answer that is empty because of the gateway's own limits.

    Args:
        errors: the faults of all sections as a document lists them.
    """
    detail = "no section arrived, because too many calls to the upstreams are in flight"
    return problem(503, detail, retry_after=1, code=errors[0]["code"], errors=errors)


def not_for(method: str, path: str) -> str:
    """Return the detail of a 405."""
    return f"{shortened(method, _LONGEST_NAME)} is not allowed for {shortened(path)}"


def invalid(wrong: Sequence[tuple[str, str]]) -> Response:
    """Return the 422 problem of an invalid request.

    It quotes the client's input, so it is bounded: a few errors of a few characters each, and the
    number of errors left out.

    Args:
        wrong: the name and the detail of each error.
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


def answer_with_problems(app: FastAPI) -> None:
    """Let an application answer every error of its routes with a problem."""
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid_body)
    app.add_exception_handler(Exception, on_bug)


def on_http_error(request: Request, error: Exception) -> Response:
    """Turn FastAPI's HTTPException (404, 405 ...) into a problem."""
    status = getattr(error, "status_code", 500)
    detail = {
        404: f"there is nothing at {shortened(request.url.path)}",
        405: not_for(request.method, request.url.path),
    }.get(status, str(getattr(error, "detail", error)))
    return problem(status, detail, headers=getattr(error, "headers", None))


def on_invalid_body(request: Request, error: Exception) -> Response:  # noqa: ARG001 - as above
    """Turn FastAPI's validation errors into a problem."""
    wrong = [
        (".".join(map(str, one["loc"])) or "body", str(one["msg"]))
        for one in getattr(error, "errors", list)()
    ]
    return invalid(wrong)


def bug() -> Response:
    """Return the 500 problem of a bug; its cause is in the log, not in the answer."""
    return problem(500, "the gateway itself failed; its log has the cause")


def on_bug(request: Request, error: Exception) -> Response:  # noqa: ARG001 - FastAPI's signature
    """Answer a bug with a 500."""
    return bug()
