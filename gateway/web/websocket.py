"""The WebSocket `/live`: many subscriptions on one connection (RFC 6455).

A subscription is a request for JSON Lines: each line is one message, with the subscription's `id`
in front. So it has the same events, polls, limits and problems as a stream over HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import orjson

from gateway.aio.tasks import cancel_and_wait
from gateway.answers.encodings import JsonLines
from gateway.web.problems import MEDIA_TYPE, problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from gateway.config.models import WebSocketConfig
    from gateway.values.header_fields import Field
    from gateway.web.cors import Cors
    from gateway.web.dashboard import Answering, DashboardEndpoint
    from gateway.web.fields import Fields
    from gateway.web.path_index import Found

    Find = Callable[[bytes], Found[DashboardEndpoint] | None]

__all__ = ["PATH", "WebSockets"]

PATH = b"/live"

POLICY, TOO_BIG, RESTARTS = 1008, 1009, 1012
"""Close codes (RFC 6455 section 7.4, and its registry)."""

_ENOUGH = 64 * 1024
"""Bytes that wait for a client; with more of them it counts as one that does not read."""

_LONGEST_ID = 64
_USAGE = 'send {"subscribe": "ID", "path": "/..."} or {"unsubscribe": "ID"}'
_LONGEST_PATH = 8192
_OURS = frozenset({b"accept", b"accept-encoding", b"if-none-match", b"last-event-id"})


class WebSockets:
    """The WebSockets of one configuration.

    Args:
        config: what is declared.
        cors: which other origins may connect; `None` for none.
        send_time: seconds that a client may take to read a message.
    """

    def __init__(self, config: WebSocketConfig, cors: Cors | None, send_time: float = 30.0) -> None:
        self.config = config
        self.send_time = send_time
        self._cors = cors
        self._open: set[_Conversation] = set()
        self._ending = False

    async def serve(self, scope: Scope, receive: Receive, send: Send, find: Find) -> None:
        """Serve one connection until either side ends it.

        Args:
            scope: ASGI's description of the handshake.
            receive: ASGI's; what the client says.
            send: ASGI's; what the client hears.
            find: returns the dashboard at a path.
        """
        await receive()  # websocket.connect
        fields = self._admitted(scope["headers"])
        if fields is None:
            await send({"type": "websocket.close", "code": POLICY})  # a 403: it is not open yet
            return
        await send({"type": "websocket.accept"})
        conversation = _Conversation(self, fields, send, find)
        self._open.add(conversation)
        if self._ending:
            conversation.close(RESTARTS, "the gateway is restarting")
        try:
            await conversation.run(receive)
        finally:
            self._open.discard(conversation)

    def end(self) -> None:
        """Close every connection, so that its client connects again."""
        self._ending = True
        for conversation in self._open:
            conversation.close(RESTARTS, "the gateway is restarting")

    def _admitted(self, fields: list[Field]) -> list[Field] | None:
        """Return the fields for the subscriptions of a client; `None` if it may not connect.

        It may if it is no page, one of this host, or one that CORS allows. Browsers let every page
        open a WebSocket, with the cookies of its user, and say which one it is. A page that may
        not use its user's credentials has no fields at all: it cannot have set one itself.
        """
        given = [value for name, value in fields if name == b"origin"]
        if not given:
            return fields
        if len(given) > 1:
            return None
        scheme, _, host = given[0].lower().partition(b"://")
        hosts = [value.lower() for name, value in fields if name == b"host"]
        if scheme in {b"http", b"https"} and host in hosts:
            return fields
        if self._cors is None or not self._cors.allows(given[0]):
            return None
        return fields if self._cors.credentials else []


class _Conversation:
    """One connection: its subscriptions, and the messages that wait to be sent."""

    def __init__(self, owner: WebSockets, fields: list[Field], send: Send, find: Find) -> None:
        self._owner = owner
        self._fields = [(name, value) for name, value in fields if name not in _OURS]
        self._fields.append((b"accept", JsonLines.media_type))
        self._send = send
        self._find = find
        self._subscriptions: dict[str, _Subscription] = {}
        self._messages = deque[bytes]()
        self._size = 0
        self._wake: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._closing: tuple[int, str] | None = None

    @property
    def paused(self) -> bool:
        """Whether the client does not read what was sent."""
        return self._size > _ENOUGH

    async def run(self, receive: Receive) -> None:
        """Listen and send until either side ends the connection."""
        listening = asyncio.create_task(self._listen(receive))
        sending = asyncio.create_task(self._deliver())
        try:
            await asyncio.wait([listening, sending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending = [task for one in self._subscriptions.values() for task in one.cancel()]
            self._subscriptions.clear()
            self._messages.clear()
            self._size = 0
            await cancel_and_wait([listening, sending, *ending])
        failed = [task.exception() for task in (listening, sending) if not task.cancelled()]
        # A failure whose traceback has this frame must not be in it: documents would wait for the
        # garbage collector.
        del listening, sending, ending
        bugs = (one for one in failed if one is not None and not isinstance(one, OSError))
        bug = next(bugs, None)
        del failed, bugs
        try:
            if bug is not None:
                raise bug  # anything else is a client that has gone
        finally:
            del bug

    def close(self, code: int, reason: str) -> None:
        """Close the connection when what waits has been sent."""
        self._closing = self._closing or (code, reason)
        self._stir()

    def send(self, message: bytes) -> None:
        """Send a message."""
        self._messages.append(message)
        self._size += len(message)
        self._stir()

    def ended(self, subscription: _Subscription) -> None:
        """Forget a subscription that has nothing more to say."""
        if self._subscriptions.get(subscription.name) is subscription:
            del self._subscriptions[subscription.name]

    # What the client says

    async def _listen(self, receive: Receive) -> None:
        limit = int(self._owner.config.max_message)
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if self._closing is not None:
                continue
            said = message.get("text") or message.get("bytes") or b""
            text = said.encode() if isinstance(said, str) else said
            if len(text) > limit:
                self.close(TOO_BIG, f"a message has {limit} bytes at most")
            elif not self._understood(text):
                self.close(POLICY, _USAGE)
            while self.paused:  # what a client asks for waits until it has read the answers
                self._room = asyncio.get_running_loop().create_future()
                await self._room

    def _understood(self, text: bytes) -> bool:
        """Do what the client says; return false if it makes no sense."""
        try:
            said = orjson.loads(text)
        except ValueError:
            return False
        if not isinstance(said, dict):
            return False
        name = said.get("subscribe", said.get("unsubscribe"))
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_ID:
            return False
        if said.keys() == {"unsubscribe"}:
            subscription = self._subscriptions.pop(name, None)
            if subscription is not None:
                subscription.leave()
            return True
        path = said.get("path")
        if said.keys() != {"subscribe", "path"} or not isinstance(path, str):
            return False
        self._subscribe(name, path)
        return True

    def _subscribe(self, name: str, path: str) -> None:
        subscription = _Subscription(self, name)
        most = self._owner.config.max_subscriptions
        raw, _, query = path.encode("utf-8", "replace").partition(b"?")
        if name in self._subscriptions:
            subscription.refuse(problem(409, "there is a subscription with this id"))
        elif len(self._subscriptions) >= most:
            subscription.refuse(problem(429, f"a connection has {most} subscriptions at most"))
        elif not path.isascii() or len(path) > _LONGEST_PATH:
            subscription.refuse(problem(422, "a path is percent-encoded and not that long"))
        elif (found := self._found(raw)) is None:
            subscription.refuse(problem(404, "there is no dashboard at this path"))
        else:
            self._subscriptions[name] = subscription
            subscription.work = found[0].answer(
                "GET", raw, query, self._fields, found[1], subscription.respond, subscription.begin
            )

    def _found(self, raw: bytes) -> Found[DashboardEndpoint] | None:
        try:
            return self._find(raw)
        except UnicodeDecodeError:
            return None

    # What the client gets

    async def _deliver(self) -> None:
        """Send messages as they come, no faster than the client reads."""
        while True:
            while not self._messages:
                if self._closing is not None:
                    code, reason = self._closing
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self._owner.send_time):
                            await self._send(
                                {"type": "websocket.close", "code": code, "reason": reason}
                            )
                    return
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
            message = self._messages.popleft()
            try:
                async with asyncio.timeout(self._owner.send_time):
                    await self._send({"type": "websocket.send", "text": message.decode()})
            except TimeoutError:
                return  # it does not read
            self._sent(len(message))

    def _sent(self, size: int) -> None:
        paused = self.paused
        self._size -= size
        if paused and not self.paused:
            if self._room is not None and not self._room.done():
                self._room.set_result(None)
            for subscription in list(self._subscriptions.values()):
                if subscription.resumed is not None:
                    subscription.resumed()

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class _Subscription:
    """One subscription: the outlet of a stream, each line of which becomes a message.

    Attributes:
        name: the `id` that the client has given it.
        work: what can be cancelled.
        resumed: called when the client reads again.
    """

    def __init__(self, conversation: _Conversation, name: str) -> None:
        self.name = name
        self.work: Answering | None = None
        self.resumed: Callable[[], None] | None = None
        self._conversation: _Conversation | None = conversation
        self._lead = b'{"id":%b,' % orjson.dumps(name)

    @property
    def paused(self) -> bool:
        """Whether the client does not read."""
        return self._conversation is None or self._conversation.paused

    def respond(self, _: int, fields: Fields, body: bytes) -> None:
        """Take an answer in one piece: a whole stream, or a problem."""
        if (b"content-type", MEDIA_TYPE.encode()) in fields:
            self.end(b'{"event":"problem",%b' % body[1:])
        else:
            self.end(body)

    def refuse(self, refusal: Response) -> None:
        """Answer with a problem."""
        self.end(b'{"event":"problem",%b' % bytes(refusal.body)[1:])

    def begin(self, _: int, __: Fields, data: bytes) -> _Subscription:
        """Take the first part of a stream."""
        self.write(data)
        return self

    def write(self, data: bytes) -> None:
        """Send events."""
        if self._conversation is not None:
            for line in data.split(b"\n"):
                if line:  # a heartbeat is none; a WebSocket has pings
                    self._conversation.send(self._lead + line[1:])

    def end(self, data: bytes = b"") -> None:
        """Send the last events."""
        self.write(data)
        conversation, self._conversation = self._conversation, None
        self.resumed = None
        if conversation is not None:
            conversation.ended(self)

    def cancel(self) -> list[asyncio.Task[Any]]:
        """Send nothing more; return the tasks that have yet to end."""
        self._conversation = self.resumed = None
        work, self.work = self.work, None
        return work.cancel() if work is not None else []

    def leave(self) -> None:
        """End what the client no longer wants."""
        self.cancel()
