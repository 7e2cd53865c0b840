"""The innermost call of an HTTP upstream: it sends one request and decodes the answer.

One table maps httpx's exceptions to the gateway's errors.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx

from gateway.errors import (
    CallError,
    DependencyFailed,
    Failed,
    UpstreamPayload,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.transport import AnswerTooLarge
from gateway.upstreams.http.operation import HttpOperation
from gateway.values.excerpt import excerpt, one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.call import Clock, Deadline, Request, Response
    from gateway.layers.passage import Passage
    from gateway.transport import Exchange, Origin, RawAnswer
    from gateway.upstreams.http.decode import Decoder

__all__ = ["HttpCall"]

# First match wins. The gateway's clients see the details, so these name no addresses (a redirect's
# target, which the error of a 3xx names, is the one exception).
_TABLE: tuple[tuple[type[Exception], type[CallError], str], ...] = (
    (httpx.ConnectTimeout, UpstreamTimeout, "the connection was not established in time"),
    (httpx.PoolTimeout, UpstreamTimeout, "no connection became free in time"),
    (httpx.TimeoutException, UpstreamTimeout, "the answer did not arrive in time"),
    (AnswerTooLarge, UpstreamPayload, "the answer exceeds the size limits"),
    (httpx.DecodingError, UpstreamPayload, "the content encoding of the answer is not accepted"),
    (httpx.ConnectError, UpstreamUnreachable, "the connection failed"),
    (httpx.LocalProtocolError, DependencyFailed, "a header field of the client cannot be sent"),
    (
        httpx.RemoteProtocolError,
        UpstreamUnreachable,
        "the answer is incomplete or is not valid HTTP",
    ),
    (httpx.TransportError, UpstreamUnreachable, "the connection broke"),
)


class HttpCall:
    """Sends requests to one origin.

    Args:
        exchange: the transport.
        origin: the server, with the constant header fields.
        decoder: decodes the answers.
        upstream: name of the upstream, for errors.
        prefix: path of the base URL, prepended to every target.
        defaults: header fields that are sent unless the request has a field of that name.
        mocked: returns the transport that takes the place of `exchange` while a test's mock
            answers (`gateway.testing.respx`).
        expose_errors: append an excerpt of the upstream's answer to the details of errors.
        deadline_header: header field that sends the remaining time to the upstream.
        clock: monotonic seconds, as deadlines use them.
    """

    def __init__(
        self,
        exchange: Exchange,
        origin: Origin,
        decoder: Decoder,
        *,
        upstream: str,
        mocked: Callable[[], Exchange],
        prefix: str = "",
        defaults: Sequence[tuple[bytes, bytes]] = (),
        expose_errors: bool = False,
        deadline_header: str | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.exchange = exchange
        self._origin = origin
        self._decoder = decoder
        self._upstream = upstream
        self.mocked = mocked
        self._prefix = prefix
        self._defaults = defaults
        self._expose_errors = expose_errors
        self._deadline_header = deadline_header.lower().encode("ascii") if deadline_header else b""
        self._clock = clock

    def start(self, passage: Passage) -> None:
        """Send the request of `passage`; without a task if a connection is idle."""
        send = getattr(self.exchange, "send", None)
        if send is None:
            passage.wait_for(self(passage.request))
            return
        request = passage.request
        operation: Any = request.operation
        try:
            if operation.writer is not self or self._deadline_header:
                self._write(operation, request.deadline)
            sent = send(self._origin, operation.method, operation.written, self, passage)
        except httpx.LocalProtocolError as error:
            self.failed(passage, error)
            return
        if sent is None:
            passage.wait_for(self(request))
        elif not passage.done and passage.running is None:
            passage.running = sent

    def _write(self, operation: HttpOperation, deadline: Deadline) -> None:
        """Write the request of an operation, once for all its calls unless it has the deadline."""
        target, headers = self._message(operation, deadline)
        operation.written = self._origin.request(operation.method, target, headers)
        operation.writer = self

    async def __call__(self, request: Request) -> Response:
        """Return the good answer to `request`."""
        operation = request.operation
        assert isinstance(operation, HttpOperation)  # noqa: S101 - made by this kind's template
        target, headers = self._message(operation, request.deadline)
        try:
            answer = await self.exchange.exchange(self._origin, operation.method, target, headers)
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _translate(error, self._upstream) from error
        return await self._admitted(answer)

    # Of the transport

    def answered(self, passage: Passage, answer: RawAnswer) -> None:
        """Take the answer to the request of `passage`."""
        if not self._decoder.is_quick(answer):
            passage.wait_for(self._admitted(answer))
            return
        try:
            response = self._decoder.read(answer)
        except Failed as error:
            passage.fail(self._quoting(error, answer))
        except BaseException as bug:
            passage.fail(bug)
        else:
            passage.succeed(response)

    def failed(self, passage: Passage, error: Exception) -> None:
        """Take the error that ended the exchange."""
        if isinstance(error, (httpx.TransportError, httpx.DecodingError)):
            error = _translate(error, self._upstream)
        passage.fail(error)

    def waits_for(self, passage: Passage, answer: Callable[[], Awaitable[RawAnswer]]) -> None:
        """Wait for an answer in a task."""
        passage.wait_for(self._arriving(answer))

    # Inner parts

    async def _arriving(self, arriving: Callable[[], Awaitable[RawAnswer]]) -> Response:
        try:
            answer = await arriving()
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _translate(error, self._upstream) from error
        return await self._admitted(answer)

    async def _admitted(self, answer: RawAnswer) -> Response:
        """Return the decoded answer, which may be large."""
        try:
            if answer.hold is None:
                return await self._decoder.admit(answer)
            with answer.hold:
                return await self._decoder.admit(answer)
        except Failed as error:
            raise self._quoting(error, answer) from None

    def _message(
        self, operation: HttpOperation, deadline: Deadline
    ) -> tuple[bytes, Sequence[tuple[bytes, bytes]]]:
        """Return the target and the header fields of a request."""
        headers = operation.headers
        if operation.propagated:
            headers = (*headers, *operation.propagated)
        if self._defaults:
            headers = _with(self._defaults, headers)
        if self._deadline_header:
            headers = (*headers, self._remaining(deadline))
        return (self._prefix + operation.target).encode("ascii"), headers

    def _quoting(self, error: Failed, answer: RawAnswer) -> Failed:
        """Return `error` with an excerpt of the answer."""
        error.excerpt = excerpt(answer.body)
        if self._expose_errors and error.excerpt:
            error.detail = f"{error.detail}: {error.excerpt}"
        return error

    def _remaining(self, deadline: Deadline) -> tuple[bytes, bytes]:
        """Return the header field with the remaining time, measured just before sending."""
        # Rounded down, but never to 0, which some servers read as "no limit".
        milliseconds = max(1, int(deadline.remaining(self._clock()) * 1000))
        return self._deadline_header, b"%d" % milliseconds


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
