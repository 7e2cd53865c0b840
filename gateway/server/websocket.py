"""uvicorn's WebSocket protocol, with limits on the work and memory that a client can cause.

What is received waits as plain bytes, of which no more is read, until the client has read what was
sent and the application has taken the messages before it. It is parsed in slices, so that other
connections get their turn between thousands of tiny frames.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
    from uvicorn.config import Config
    from uvicorn.server import ServerState
    from websockets.frames import Frame

__all__ = ["WebSocketConnection"]

_SLICE = 4096
"""Bytes that are parsed before others get their turn."""

_FRAGMENTS = 128
"""Fragments of one message; they may be empty, so that the size of the message limits none."""

_LINGER = 20.0
"""Seconds after the end in which a client may read what was sent. It includes uvicorn's own 10 s
for the client's close frame."""

_POLICY, _NOT_UTF8 = 1008, 1007


class WebSocketConnection(WebSocketsSansIOProtocol):
    """One WebSocket of a client."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.logger = self.conn.logger = _log()
        self.conn.debug = False
        self._unread = bytearray()  # received, and not parsed yet
        self._scheduled = False  # the next slice is
        self._abort_timer: asyncio.TimerHandle | None = None

    # Flow

    def data_received(self, data: bytes) -> None:
        """Parse what comes, a slice at a time."""
        self._unread += data
        if not self._scheduled:
            self._parse()

    def _parse(self) -> None:
        self._scheduled = False
        if self._unread and self._may_parse():
            part = bytes(self._unread[:_SLICE])
            del self._unread[:_SLICE]
            super().data_received(part)
        self._regulate()

    def _may_parse(self) -> bool:
        return self.writable.is_set() and not self.read_paused

    def _regulate(self) -> None:
        """Go on with what waits, and read more only if nothing does.

        uvicorn pauses and resumes the transport for its own reason, which is `read_paused`; the
        transport follows all reasons once this was called.
        """
        if self.transport.is_closing():
            self._unread.clear()
            return
        may_parse = self._may_parse()
        if self._unread and may_parse and not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._parse)
        if self._unread or not may_parse:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Read nothing of a client that does not read: pings are answered, too."""
        super().pause_writing()
        self._regulate()

    def resume_writing(self) -> None:
        """Go on; the client has read."""
        super().resume_writing()
        self._regulate()

    # What the application calls

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next event."""
        message = await super().receive()
        self._regulate()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        """Send an event.

        Raises:
            ClientDisconnected: the connection is closed, or being closed.
        """
        await self.writable.wait()
        if self.close_sent:  # here, for what the client has said
            raise ClientDisconnected
        await super().send(message)
        self._regulate()

    # What the client says

    def handle_cont(self, event: Frame) -> None:
        """Take a fragment, if there are not too many of them."""
        if self.close_sent:
            return
        if len(self.frames) >= _FRAGMENTS:
            self._fail(_POLICY, f"a message has {_FRAGMENTS} fragments at most")
        else:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        """Pass a message on; text must be UTF-8."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            self.frames = [b"".join(self.frames)]
            try:
                self.frames[0].decode()
            except UnicodeDecodeError:
                self._fail(_NOT_UTF8, "text is UTF-8")
                return
        super().send_receive_event_to_app()

    def _fail(self, code: int, reason: str) -> None:
        self.frames = []
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    # Ends

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Wait for the client no longer than it may take."""
        super().on_task_complete(task)
        self._limit_end()

    def keepalive_timeout(self) -> None:
        """Close: the client is gone, or does not read."""
        super().keepalive_timeout()
        self._limit_end()

    def _limit_end(self) -> None:
        if self._abort_timer is None and not self.disconnected:
            self._abort_timer = self.loop.call_later(_LINGER, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the application know."""
        self._unread.clear()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        super().connection_lost(exc)


def _log() -> logging.Logger:
    """Return uvicorn's log without its lines for each handshake, of which a client may make any."""
    log = logging.getLogger("uvicorn.error.websocket")
    parent = logging.getLogger("uvicorn.error")
    log.setLevel(max(logging.WARNING, parent.getEffectiveLevel()))
    return log
