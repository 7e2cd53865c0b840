"""httpx's own transport behind the same face: for HTTP/2, for proxies, and for respx."""

from __future__ import annotations

import asyncio
import ssl
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import httpcore
import httpx

from gateway.transport.answer import RawAnswer
from gateway.transport.bounds import Bounds
from gateway.transport.failures import AnswerTooLarge
from gateway.transport.inflate import DESCRIBED, content_coding, inflate
from gateway.transport.tls import TlsOptions, tls_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.transport.origin import Origin

__all__ = ["StockTransport", "pool_is_patched"]

_NO_BODY = frozenset({204, 304})


def pool_is_patched() -> bool:
    """Tell whether somebody (respx, by default) stands in for httpcore's connection pool.

    respx replaces the method by a function of its own, which is not defined in httpcore; asking
    the function itself works no matter which of the two was imported or started first.
    """
    return not httpcore.AsyncConnectionPool.handle_async_request.__module__.startswith("httpcore.")


class StockTransport:
    """`exchange` over `httpx.AsyncHTTPTransport`, with the same bounds and the same errors.

    Args:
        transport: made here from the arguments below where it is `None`.
        tls: whom to trust; certifi's list where it is `None`. A context is taken as it is.
        http2: offer HTTP/2 by ALPN; needs the `h2` package.
        proxy: URL of a proxy; SOCKS needs the `socksio` package.
        max_connections: for all origins together; further calls wait.
        max_idle: connections kept for later; all of them where it is `None`.
        idle_age: seconds that they are kept.
        connect_timeout: seconds for TCP, and again for TLS.
        bounds: what an answer may cost; the head is under httpcore's own bound (100 KiB).
    """

    def __init__(
        self,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        tls: TlsOptions | ssl.SSLContext | None = None,
        http2: bool = False,
        proxy: str | None = None,
        max_connections: int = 100,
        max_idle: int | None = None,
        idle_age: float = 30.0,
        connect_timeout: float = 5.0,
        bounds: Bounds | None = None,
    ) -> None:
        self._transport = transport or httpx.AsyncHTTPTransport(
            verify=tls if isinstance(tls, ssl.SSLContext) else tls_context(tls or TlsOptions()),
            # Proxies are configured, never found in the environment.
            trust_env=False,
            http2=http2,
            proxy=proxy,
            limits=httpx.Limits(
                max_connections=max_connections,
                max_keepalive_connections=max_idle,
                keepalive_expiry=idle_age,
            ),
        )
        self._proxied = proxy is not None
        self._connect_timeout = connect_timeout
        self._bounds = bounds or Bounds()

    async def exchange(
        self,
        origin: Origin,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> RawAnswer:
        """Send one request and return its answer, content inflated.

        Like `Http1Transport.exchange` in everything, but slower.
        """
        progress = _Progress()
        connect = self._connect_timeout if timeout is None else min(timeout, self._connect_timeout)
        request = httpx.Request(
            method,
            origin.url(target),
            headers=origin.fields(headers),
            content=body or None,
            extensions={
                # Byte for byte as it was made; but a proxy is told the absolute form, which
                # httpcore makes of the URL (RFC 9112 section 3.2.2).
                **({} if self._proxied else {"target": target}),
                "timeout": {"connect": connect},
                "trace": progress,
            },
        )
        try:
            async with asyncio.timeout(timeout) as scope:
                return await self._answer(request, scope)
        except TimeoutError:
            raise progress.timed_out() from None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def _answer(self, request: httpx.Request, scope: asyncio.Timeout) -> RawAnswer:
        response = await self._transport.handle_async_request(request)
        try:
            headers = [(name.lower(), value) for name, value in response.headers.raw]
            if len(headers) > self._bounds.max_headers:
                raise AnswerTooLarge(f"more than {self._bounds.max_headers} header fields")
            coding = b""
            if request.method != "HEAD" and response.status_code not in _NO_BODY:
                coding = content_coding(
                    b",".join([value for name, value in headers if name == b"content-encoding"])
                )
            body = await self._body(response)
        finally:
            await response.aclose()
        if coding:
            body = await inflate(coding, body, self._bounds.max_inflated, scope.when())
            headers = [field for field in headers if field[0] not in DESCRIBED]
        return RawAnswer(
            response.status_code,
            headers,
            body,
            response.http_version,
            response.extensions.get("reason_phrase", b""),
        )

    async def _body(self, response: httpx.Response) -> bytes:
        body = BytesIO()
        # Not `aiter_raw`: a mock's answer counts as read before anyone has read it.
        stream = cast("httpx.AsyncByteStream", response.stream)
        async for piece in stream:
            body.write(piece)
            if body.tell() > self._bounds.max_body:
                raise AnswerTooLarge(f"content of more than {self._bounds.max_body} bytes")
        return body.getvalue()


class _Progress:
    """Listens to httpcore to know how far a request came, for the kind of timeout to raise."""

    __slots__ = ("_stage",)

    def __init__(self) -> None:
        self._stage: type[httpx.TimeoutException] = httpx.PoolTimeout

    async def __call__(self, event: str, _info: dict[str, Any]) -> None:
        if event.startswith("connection."):
            self._stage = httpx.ConnectTimeout
        elif ".send_" in event and event.endswith(".started"):
            self._stage = httpx.WriteTimeout
        elif ".receive_" in event:
            self._stage = httpx.ReadTimeout

    def timed_out(self) -> httpx.TimeoutException:
        return self._stage("no answer within the time allowed")
