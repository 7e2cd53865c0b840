"""The usual way of a request: an ASGI scope, and uvicorn's cycle of `receive` and `send`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from gateway.web.problems import problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from uvicorn.protocols.http.flow_control import FlowControl

    from gateway.server.reader import RequestReader
    from gateway.server.refusal import Refusal
    from gateway.server.shared import Shared

__all__ = ["Exchange", "ending"]

_DISCONNECT = {"type": "http.disconnect"}


class Exchange:
    """One request on its way through an ASGI application.

    Args:
        shared: what the connections share.
        reader: holds the head of the request.
        target: path and query of the request.
        transport: the connection.
        flow: its flow control.
        keep_alive: the connection may stay open after the answer.
        more_body: the request's content is not complete.
        on_response: called when the answer is complete.
    """

    __slots__ = ("_app", "_cors", "_cycle", "_flow", "_refusal")

    def __init__(
        self,
        shared: Shared,
        reader: RequestReader,
        target: tuple[bytes, bytes],
        transport: asyncio.Transport,
        flow: FlowControl,
        *,
        keep_alive: bool,
        more_body: bool,
        on_response: Callable[[], None],
    ) -> None:
        self._flow = flow
        self._app: ASGIApp = shared.app
        self._cors = shared.cors
        self._refusal: Refusal | None = None
        config = shared.config
        self._cycle = RequestResponseCycle(
            scope=_scope(shared, reader, target, transport),  # type: ignore[arg-type]
            transport=cast("asyncio.Transport", _Writing(transport)),
            flow=flow,
            logger=shared.log,
            access_logger=shared.access_log,
            access_log=config.access_log and shared.access_log.hasHandlers(),
            default_headers=shared.state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=reader.expects,
            keep_alive=keep_alive,
            on_response=on_response,
        )
        if not more_body:
            self.complete()

    @property
    def began(self) -> bool:
        """Whether a part of the answer has been sent."""
        return bool(self._cycle.response_started)

    @property
    def ended(self) -> bool:
        """Whether the whole answer has been sent."""
        return bool(self._cycle.response_complete)

    @property
    def is_last(self) -> bool:
        """Whether the connection closes after the answer."""
        return not self._cycle.keep_alive

    async def run(self) -> None:
        """Run the application."""
        await self._cycle.run_asgi(self._serve)  # type: ignore[arg-type]

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application; what it does not answer itself ends with a problem."""

        async def receiving() -> Message:
            message: Message = _DISCONNECT if self._refusal else await receive()
            return _DISCONNECT if self._refusal else message

        try:
            await self._app(scope, receiving, send)
        except asyncio.CancelledError:
            if self.began:
                raise
            await self._answer(ending(), scope, receive, send)
            return
        except Exception:
            if self.began or self._refusal is None:
                raise
        if self._refusal is not None and not self.began:
            await self._answer(self._refusal.problem(), scope, receive, send)

    async def _answer(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in place of the application, which also adds what CORS needs."""
        if self._cors is not None:
            send = self._cors.of(scope["method"], scope["headers"]).sending(send)
        await response(scope, receive, send)

    def body(self, data: bytes) -> None:
        """Give the application a part of the request's content."""
        if self.ended:
            return
        self._cycle.body += data
        if len(self._cycle.body) > HIGH_WATER_LIMIT:
            self._flow.pause_reading()
        self._cycle.message_event.set()

    def complete(self) -> None:
        """Take note that the request's content is complete."""
        self._cycle.more_body = False
        self._cycle.message_event.set()

    def break_off(self, refusal: Refusal) -> None:
        """Report to an application that reads on that its client has gone; then refuse.

        An application that does not need the rest of the content gives its own answer.
        """
        self._refusal = refusal
        self._cycle.keep_alive = False
        self._cycle.message_event.set()

    def close_after(self) -> None:
        """Close the connection after the answer."""
        self._cycle.keep_alive = False

    def disconnect(self) -> None:
        """Report to the application that its client has gone."""
        if not self.ended:
            self._cycle.disconnected = True
        self._cycle.message_event.set()
        self._flow.resume_writing()


class _Writing:
    """A transport that the cycle writes to. Closing it is left to the connection.

    Closing at once while a client still sends would reset the connection, and the client would lose
    an answer that it has already received.
    """

    __slots__ = ("_closed", "_transport", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._closed = False
        self.write = transport.write

    def is_closing(self) -> bool:
        """Whether the cycle or the connection has closed it."""
        return self._closed or self._transport.is_closing()

    def close(self) -> None:
        """Note that nothing follows."""
        self._closed = True


def _scope(
    shared: Shared,
    reader: RequestReader,
    target: tuple[bytes, bytes],
    transport: asyncio.Transport,
) -> dict[str, Any]:
    root_path = shared.config.root_path
    raw_path, query = target
    return {
        "type": "http",
        "asgi": {"version": shared.config.asgi_version, "spec_version": "2.3"},
        "http_version": reader.version,
        "server": get_local_addr(transport),
        "client": get_remote_addr(transport),
        "scheme": "https" if is_ssl(transport) else "http",
        "root_path": root_path,
        "headers": reader.fields,
        "state": shared.app_state.copy(),
        "method": reader.method,
        "path": root_path + unquote(raw_path.decode("ascii")),
        "raw_path": root_path.encode("ascii") + raw_path,
        "query_string": query,
    }


def ending() -> Response:
    """Return the answer to a request that the server has no time left for."""
    return problem(503, "the gateway is shutting down", retry_after=1)
