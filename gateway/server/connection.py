"""A client's connection: announces its end, closes without a reset, and gives up with a 503."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.web.lifecycle import Lifecycle
from gateway.web.problems import problem

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send
    from uvicorn._types import ASGI3Application
    from uvicorn.config import Config
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

__all__ = ["Closing", "Connection"]

_LINGER = 1.0
"""Seconds for a client to close its side after we have closed ours."""


class Connection(HttpToolsProtocol):
    """An HTTP/1.1 connection that can be drained.

    While the process drains, the last answer of a connection carries `Connection: close`, and the
    connection is then closed in two steps, so that the client can read the whole answer.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._lifecycle = getattr(server_state, "lifecycle", None) or Lifecycle()
        self.app = _ending_quietly(self.app)
        self._receiving = False
        self._polite = False
        self._serving: RequestResponseCycle | None = None
        self._last: RequestResponseCycle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered, and the connection is open."""
        return not (
            self._receiving
            or self.pipeline
            or (self._serving is not None and not self._serving.response_complete)
            or self.transport.is_closing()
        )

    def fileno(self) -> int:
        """Return the descriptor of the socket; -1 once it is closed."""
        found = self.transport.get_extra_info("socket")
        return -1 if found is None else int(found.fileno())

    def announce(self) -> None:
        """Say in the last answer of this connection that it closes. The process has begun to drain.

        An answer whose head has been sent cannot say so. The connection is idle after it, and is
        closed as idle ones are.
        """
        self._close_politely()
        cycle = self.cycle
        if cycle is not None:
            cycle.transport = self.transport
            if not cycle.response_complete and not cycle.response_started:
                self._say_close(cycle)

    def close_idle(self) -> None:
        """Close the connection, which is idle."""
        self._close_politely()
        self.transport.close()

    def give_up(self) -> None:
        """Answer every request on this connection that has no answer with 503, and close.

        An answer that has begun is cut off: nothing else says that it is not complete.
        """
        self._close_politely()
        serving = self._serving
        waiting = [cycle for cycle, _ in reversed(self.pipeline)]
        self.pipeline.clear()
        if serving is not None and not serving.response_complete:
            _disconnect(serving)
            if serving.response_started:
                self.transport.abort()
                return
            waiting.insert(0, serving)
        heads = [cycle.scope["method"] == "HEAD" for cycle in waiting]
        if self._receiving:
            heads.append(False)
        for at, head in enumerate(heads, 1):
            last = at == len(heads)
            self.transport.write(_unavailable(self.server_state, head=head, last=last))
        self.transport.close()

    # Callbacks of uvicorn's protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Serve a new connection."""
        super().connection_made(transport)
        if self._lifecycle.draining:
            self._close_politely()

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._receiving = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin to serve a request."""
        self._receiving = False
        if self._lifecycle.draining:
            self._close_politely()
            super().on_headers_complete()
            self._say_close(self.cycle)
        else:
            super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def _say_close(self, cycle: RequestResponseCycle) -> None:
        # No request after an answer that says `close` is answered (RFC 9112 section 9.6). Where a
        # client has sent several at once, only the last answer says so.
        before, self._last = self._last, None
        if before is not None and before is not cycle and not before.response_started:
            before.keep_alive = True
        if cycle.keep_alive:
            cycle.keep_alive = False
            self._last = cycle

    def _close_politely(self) -> None:
        if not self._polite:
            self._polite = True
            self.transport = cast("asyncio.Transport", Closing(self.transport, self))


class Closing:
    """A transport whose `close` cannot destroy an answer that the client has not read yet.

    Closing a socket that has unread input resets the connection, and the client's system then drops
    what it has received. So our side is closed first; the rest follows when the client has closed
    its own, or after a second (RFC 9112 section 9.6).
    """

    __slots__ = ("_closed", "_inner", "_protocol")

    def __init__(self, inner: asyncio.Transport, protocol: asyncio.Protocol) -> None:
        self._inner = inner
        self._protocol = protocol
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the transport."""
        return getattr(self._inner, name)

    def is_closing(self) -> bool:
        """Whether it is closed or about to be."""
        return self._closed or self._inner.is_closing()

    def close(self) -> None:
        """Close our side after what has been written; wait for the client to close its own."""
        if self.is_closing():
            return
        self._closed = True
        if not self._inner.can_write_eof():  # TLS
            self._inner.close()
            return
        self._inner.set_protocol(_Lingering(self._inner, self._protocol))
        self._inner.resume_reading()
        self._inner.write_eof()


class _Lingering(asyncio.Protocol):
    """Discards what a client still sends, until it closes the connection."""

    def __init__(self, transport: asyncio.Transport, before: asyncio.Protocol) -> None:
        self._transport = transport
        self._before = before
        self._timer = asyncio.get_running_loop().call_later(_LINGER, self._end)

    def _end(self) -> None:
        if self._transport.get_write_buffer_size():  # the client is still reading
            self._timer = asyncio.get_running_loop().call_later(_LINGER, self._end)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._before.connection_lost(exc)


def _ending_quietly(app: Any) -> Any:
    # uvicorn logs a cancelled request with its traceback. Only the end of the drain cancels one,
    # and its client has been answered by then.
    async def ending_quietly(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return ending_quietly


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Let the application see that its client is gone, and ignore what it sends."""
    cycle.disconnected = True
    cycle.message_event.set()


def _unavailable(state: ServerState, *, head: bool, last: bool) -> bytes:
    """Return a whole 503 problem."""
    refusal = problem(
        503, "the gateway shut down before it had this answer; send the request again",
        retry_after=1,
    )  # fmt: skip
    fields = [*state.default_headers, *refusal.raw_headers]
    if last:
        fields.append((b"connection", b"close"))
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    body = b"" if head else bytes(refusal.body)
    return b"HTTP/1.1 503 Service Unavailable\r\n" + lines + b"\r\n" + body
