"""The innermost Call: one request over the wire, its answer judged by the ingress.

This is where httpx's errors become the gateway's own, by one table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from gateway.errors import (
    CallError,
    DependencyFailed,
    Failed,
    UpstreamPayload,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.transport import AnswerTooLarge, pool_is_patched
from gateway.values.excerpt import excerpt, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.call import Call, Request, Response
    from gateway.transport import Exchange, Origin
    from gateway.upstreams.http.decode import Ingress

__all__ = ["http_call"]

# First match wins. Details name no addresses: they reach the gateway's own clients.
_TABLE: tuple[tuple[type[Exception], type[CallError], str], ...] = (
    (httpx.ConnectTimeout, UpstreamTimeout, "no connection in time"),
    (httpx.PoolTimeout, UpstreamTimeout, "no free connection in time"),
    (httpx.TimeoutException, UpstreamTimeout, "no answer in time"),
    (AnswerTooLarge, UpstreamPayload, "the answer is larger than is let in"),
    (httpx.DecodingError, UpstreamPayload, "the answer's content encoding is not let in"),
    (httpx.ConnectError, UpstreamUnreachable, "no connection"),
    (httpx.LocalProtocolError, DependencyFailed, "a header field of the client's cannot be sent"),
    (httpx.RemoteProtocolError, UpstreamUnreachable, "the answer broke off or is no HTTP"),
    (httpx.TransportError, UpstreamUnreachable, "the connection broke"),
)


def http_call(
    exchange: Exchange,
    origin: Origin,
    ingress: Ingress,
    *,
    upstream: str,
    prefix: str = "",
    defaults: Sequence[tuple[bytes, bytes]] = (),
    mocked: Exchange,
    expose_errors: bool = False,
) -> Call:
    """Return the Call that sends a request to `origin`.

    Args:
        exchange: the transport.
        origin: whom to, with the constant header fields.
        ingress: what judges the answers.
        upstream: name of the upstream, for errors.
        prefix: path of the base URL, put before every target.
        defaults: header fields that are sent where the request has none of that name.
        mocked: the stock transport, taken while respx stands in for its connection pool, so that
            `respx.mock` intercepts every upstream call whatever transport is configured.
        expose_errors: end the details of errors with an excerpt of what the upstream said.
    """

    async def send(request: Request) -> Response:
        headers = request.headers
        if request.propagated:
            headers = (*headers, *request.propagated)
        try:
            answer = await (mocked if pool_is_patched() else exchange).exchange(
                origin,
                request.method,
                (prefix + request.target).encode("ascii"),
                _with(defaults, headers) if defaults else headers,
                request.body,
            )
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _translate(error, upstream) from error
        try:
            return await ingress.admit(answer)
        except Failed as error:
            error.excerpt = excerpt(answer.body)
            if expose_errors and error.excerpt:
                error.detail = f"{error.detail}: {error.excerpt}"
            raise

    return send


def _with(
    defaults: Sequence[tuple[bytes, bytes]], headers: Sequence[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    named = {name for name, _ in headers}
    return [*(field for field in defaults if field[0] not in named), *headers]


def _translate(error: Exception, upstream: str) -> CallError:
    for theirs, ours, detail in _TABLE:
        if isinstance(error, theirs):
            return ours(
                detail, upstream=upstream, cause=one_line(str(error) or type(error).__name__)
            )
    raise error  # pragma: no cover - the table ends with the base class
