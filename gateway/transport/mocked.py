"""Upstream calls that a test's mock answers, and the assertions that fail in the mock.

respx raises an `AssertionError` for a request without a route, and a test's side effects make
assertions. The gateway handles such an error as a bug, so it could disappear in a task that lost a
race, in a refresh in the background or in a 500 problem. It is recorded here, and the endpoint
raises it again for the test.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

import httpcore
import httpx

from gateway.transport.bounds import Bounds
from gateway.transport.inflate import inflate_answer
from gateway.transport.receive import receive
from gateway.transport.tls import TlsOptions, tls_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from gateway.aio.byte_budget import Hold
    from gateway.transport.answer import RawAnswer
    from gateway.transport.origin import Origin

__all__ = ["Mocked", "Objections", "pool_is_patched"]

_TURNS = 100


def pool_is_patched() -> bool:
    """Return whether httpcore's connection pool is patched, as `respx.mock` does by default.

    respx replaces the method with a function that is not defined in httpcore. Checking the function
    works whichever of the two was imported or started first.
    """
    return not httpcore.AsyncConnectionPool.handle_async_request.__module__.startswith("httpcore.")


class Objections:
    """Assertions that failed inside a mock and that no test has seen yet.

    Attributes:
        expected: a mock has answered a call; always false in production.
    """

    __slots__ = ("_errors", "expected")

    def __init__(self) -> None:
        self.expected = False
        self._errors: list[AssertionError] = []

    def add(self, error: AssertionError) -> None:
        """Record `error` for the test."""
        if error not in self._errors:
            self._errors.append(error)

    def raise_first(self) -> None:
        """Raise the first recorded error and drop the others."""
        if self._errors:
            first = self._errors[0]
            self._errors = []
            raise first

    async def settle(self, busy: Callable[[], bool]) -> None:
        """Raise the first recorded error, waiting briefly for calls in the background.

        A mock answers without waiting, so this waits for turns of the event loop and not for time.
        A later request raises an error that takes longer.

        Args:
            busy: returns whether a call is in flight in the background.
        """
        turns = _TURNS
        while turns and not self._errors and busy():
            turns -= 1
            await asyncio.sleep(0)
        self.raise_first()


class Mocked:
    """httpx's own transport, which a mock such as respx answers by patching httpcore's pool.

    Routes that the mock passes through reach the upstream, over the same proxy and with the same
    TLS options as without the mock.

    Args:
        objections: records failed assertions of the mock.
        tls: TLS options; by default certifi's CA list.
        http2: offer HTTP/2 by ALPN.
        proxy: URL of a proxy.
        connect_timeout: seconds for TCP, and again for TLS.
        bounds: limits on an answer.
        hold: returns the reservation of memory for an answer to inflate.
    """

    def __init__(
        self,
        objections: Objections | None = None,
        *,
        tls: TlsOptions | None = None,
        http2: bool = False,
        proxy: str | None = None,
        connect_timeout: float = 5.0,
        bounds: Bounds | None = None,
        hold: Callable[[], Hold] | None = None,
    ) -> None:
        self._objections = Objections() if objections is None else objections
        self._transport = httpx.AsyncHTTPTransport(
            verify=_context(tls or TlsOptions()),
            # Proxies come from the configuration, never from the environment.
            trust_env=False,
            http2=http2,
            proxy=proxy,
        )
        self._proxied = proxy is not None
        self._connect_timeout = connect_timeout
        self._bounds = bounds or Bounds()
        self._hold = hold

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
        """Send one request and return its answer, content inflated; record failed assertions."""
        self._objections.expected = True
        extensions: dict[str, Any] = {"timeout": {"connect": self._connect_timeout}}
        if not self._proxied:
            # The exact bytes of the target, except for a proxy: it needs the absolute-form, which
            # httpcore derives from the URL (RFC 9112 section 3.2.2).
            extensions["target"] = target
        request = httpx.Request(
            method,
            origin.url(target),
            headers=origin.fields(headers),
            content=body or None,
            extensions=extensions,
        )
        try:
            async with asyncio.timeout(timeout):
                return await self._send(request)
        except AssertionError as error:
            self._objections.add(error)
            raise
        except TimeoutError:
            raise httpx.ReadTimeout("no answer within the time allowed") from None

    async def _send(self, request: httpx.Request) -> RawAnswer:
        response = await self._transport.handle_async_request(request)
        try:
            answer = await receive(
                request.method.encode("ascii"),
                response.status_code,
                response.headers.raw,
                # Not `aiter_raw`: a mock's answer counts as read from the start.
                cast("httpx.AsyncByteStream", response.stream),
                response.extensions,
                self._bounds,
            )
        finally:
            await response.aclose()
        if answer.coding:
            hold = self._hold() if self._hold is not None else None
            await inflate_answer(answer, self._bounds.max_inflated, hold=hold)
        return answer

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


def _context(options: TlsOptions) -> ssl.SSLContext:
    """Return a context for `options`, the same one again where no file of theirs is in it."""
    if options == TlsOptions(options.roots):
        return _context_of(options.roots)
    return tls_context(options)


@cache
def _context_of(roots: Literal["certifi", "system", "none"]) -> ssl.SSLContext:
    # Tests open upstreams by the thousand, and hardly any route is passed through.
    return tls_context(TlsOptions(roots))
