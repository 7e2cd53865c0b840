"""`POST /batch`: many dashboards with one request, each answered as if it had been asked alone.

The header fields of the batch apply to each of its requests. Answers come together as one document,
or as JSON Lines, each the moment it is there.
"""

from __future__ import annotations

import asyncio
import logging
import re
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gateway.aio.tasks import cancel_and_wait
from gateway.aio.timers import Wheel
from gateway.expressions.strict_json import NotStrictError, StrictJson
from gateway.values.excerpt import shortened
from gateway.web.accept import ranked
from gateway.web.disconnect import DisconnectWatch
from gateway.web.fields import Fields
from gateway.web.problems import NOSNIFF, bug, invalid, problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from gateway.config.models import BatchConfig
    from gateway.values.header_fields import Field
    from gateway.web.dashboard import Answering, DashboardEndpoint
    from gateway.web.path_index import Found

    Find = Callable[[bytes], Found[DashboardEndpoint] | None]

__all__ = ["LONGEST_ID", "OWN_FIELDS", "PATH", "Batch"]

_log = logging.getLogger("gateway")

PATH = b"/batch"
LONGEST_ID = 64
"""Most characters of the `id` of a request."""

OWN_FIELDS = ("If-None-Match", "Accept-Language", "traceparent", "tracestate", "X-Request-Id")
"""Header fields that a single request of a batch may have. A proxy in front vouches for others,
such as who the user is; it sees those of the batch, and not what is in its content."""

_LINES = b"application/jsonl"
_OWN = frozenset(name.lower() for name in OWN_FIELDS)
_OF_THE_BATCH = frozenset(
    {b"accept", b"accept-encoding", b"connection", b"expect", b"if-none-match", b"keep-alive",
     b"last-event-id", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)  # fmt: skip
_LEFT_OUT = frozenset({b"content-length", b"x-content-type-options"})
_DEEPEST = 8
_TARGET = re.compile(r"/[!-~]*")
_VALUE = re.compile(r"[\t -~]*")


class _Refused(Exception):
    """The batch as a whole is not answered; `response` says why."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class _Disconnected(Exception):
    """The client has gone before its batch was complete."""


class _Asked(NamedTuple):
    """One request of a batch."""

    id: str
    target: bytes
    fields: list[Field]


class Batch:
    """Answers batches.

    Args:
        config: their limits.
        find: returns the dashboard at a path, and its path parameters.
        forwarded: names of header fields whose values make answers private.
        compressed: private answers may be compressed.
    """

    def __init__(
        self, config: BatchConfig, find: Find, forwarded: frozenset[bytes], *, compressed: bool
    ) -> None:
        self._config = config
        self._find = find
        self._forwarded = forwarded
        self._compressed = compressed
        self._wheel = Wheel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one batch over ASGI."""
        fields: list[Field] = [*scope["headers"]]
        try:
            content = await self._content(fields, receive)
            asked = self._read(content, fields)
        except _Disconnected:
            return
        except _Refused as refused:
            await refused.response(scope, receive, send)
            return
        run = _Run(asked, self._find)
        watch = DisconnectWatch(self._wheel, receive)
        try:
            run.start()
            await self._answer(run, fields, send, watch)
        except asyncio.CancelledError:
            await run.cancel()
            if not watch.gone:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            return
        finally:
            watch.stop()
        await run.conclude()

    async def _content(self, fields: list[Field], receive: Receive) -> bytes:
        """Return the content of a batch."""
        if any(name == b"content-encoding" and value != b"identity" for name, value in fields):
            raise _Refused(problem(415, "send a batch without a content coding"))
        most = int(self._config.max_body)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Disconnected
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise _Refused(problem(413, f"a batch may have {most} bytes"))
            if not message.get("more_body"):
                return b"".join(parts)

    def _read(self, content: bytes, fields: list[Field]) -> list[_Asked]:
        """Return the requests of a batch, each with the fields of the batch and its own."""
        try:
            document, _ = StrictJson(_DEEPEST, int(self._config.max_body)).read(content)
        except NotStrictError as error:
            raise _Refused(problem(400, f"the batch is not JSON: {error}")) from None
        wrong = list(_mistakes(document, self._config.max_requests))
        if wrong:
            raise _Refused(invalid(wrong))
        shared = [field for field in fields if not _is_of_the_batch(field[0])]
        return [_asked(one, shared) for one in document["requests"]]

    async def _answer(
        self, run: _Run, fields: list[Field], send: Send, watch: DisconnectWatch
    ) -> None:
        """Send the answers, together or as they come."""
        accept = b", ".join(value for name, value in fields if name == b"accept")
        lines = bool(accept) and ranked(accept)[0] == _LINES
        control = b"no-store"
        if not self._compressed and any(name in self._forwarded for name, _ in fields):
            control += b", no-transform"  # its length could betray what is private (BREACH)
        head = [
            (b"content-type", _LINES if lines else b"application/json"),
            (b"cache-control", control),
            (b"vary", b"accept"),
            NOSNIFF,
        ]
        if lines:
            await _stream(run, [*head, (b"x-accel-buffering", b"no")], send, watch)
            return
        while run.left:
            await run.more()
        watch.stop()
        body = b'{"responses":[%b]}' % b",".join(run.answers)
        head.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


class _Run:
    """The requests of one batch under way.

    Attributes:
        answers: each as JSON, in the order of the requests; empty until it is there.
        left: how many are not there yet.
    """

    def __init__(self, asked: Sequence[_Asked], find: Find) -> None:
        self._asked = asked
        self._find = find
        self._landed: list[int] = []
        self._wake: asyncio.Future[None] | None = None
        self._under_way: list[tuple[DashboardEndpoint, Answering]] = []
        self.answers = [b""] * len(asked)
        self.left = len(asked)

    def start(self) -> None:
        """Ask all dashboards."""
        for number, one in enumerate(self._asked):
            respond = partial(self._answered, number)
            try:
                self._ask(one, respond)
            except Exception:
                _log.exception("a request of a batch failed")
                _refuse(respond, bug())

    @property
    def is_over(self) -> bool:
        """Whether every answer has been taken."""
        return not self.left and not self._landed

    async def more(self) -> list[bytes]:
        """Return the answers that have come since, at least one; wait for it."""
        if not self._landed:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        landed, self._landed = self._landed, []
        return [self.answers[number] for number in landed]

    async def cancel(self) -> None:
        """Give up what is under way, and wait until it has ended."""
        ending = [task for _, answering in self._under_way for task in answering.cancel()]
        await cancel_and_wait(ending)

    async def conclude(self) -> None:
        """Raise what the mocks of a test objected to."""
        for endpoint, answering in self._under_way:
            await endpoint.conclude(answering)

    def _ask(self, one: _Asked, respond: Callable[[int, Fields, bytes], None]) -> None:
        path, _, query = one.target.partition(b"?")
        if path == PATH:
            _refuse(respond, problem(422, "a batch cannot be in a batch"))
            return
        try:
            found = self._find(path)
        except UnicodeDecodeError:
            _refuse(respond, problem(422, "the path is not UTF-8"))
            return
        if found is None:
            detail = f"there is no dashboard at {shortened(path.decode('ascii'))}"
            _refuse(respond, problem(404, detail))
            return
        endpoint, parameters = found
        answering = endpoint.answer("GET", path, query, one.fields, parameters, respond)
        if answering is not None:
            self._under_way.append((endpoint, answering))

    def _answered(self, number: int, status: int, fields: Fields, body: bytes) -> None:
        told: dict[str, str] = {}
        for name, value in fields:
            if name not in _LEFT_OUT:
                key, text = name.decode("latin-1"), value.decode("latin-1")
                told[key] = f"{told[key]}, {text}" if key in told else text
        self.answers[number] = b'{"id":%b,"status":%d,"headers":%b,"body":%b}' % (
            orjson.dumps(self._asked[number].id),
            status,
            orjson.dumps(told),
            body or b"null",
        )
        self.left -= 1
        self._landed.append(number)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


async def _stream(run: _Run, head: list[Field], send: Send, watch: DisconnectWatch) -> None:
    """Send each answer as a line when it comes."""
    landed = await run.more()
    await send({"type": "http.response.start", "status": 200, "headers": head})
    while True:
        lines = b"".join([answer + b"\n" for answer in landed])
        more = not run.is_over
        if not more:
            watch.stop()
        await send({"type": "http.response.body", "body": lines, "more_body": more})
        if not more:
            return
        landed = await run.more()


def _refuse(respond: Callable[[int, Fields, bytes], None], refusal: Response) -> None:
    respond(refusal.status_code, Fields(refusal.raw_headers), bytes(refusal.body))


def _is_of_the_batch(name: bytes) -> bool:
    return name in _OF_THE_BATCH or name.startswith(b"content-")


def _asked(one: dict[str, Any], shared: list[Field]) -> _Asked:
    target = one["path"].partition("#")[0].encode("ascii")
    own = {name.lower().encode("ascii"): value.encode("ascii")
           for name, value in one.get("headers", {}).items()}  # fmt: skip
    fields = shared
    if own:
        fields = [field for field in shared if field[0] not in own] + list(own.items())
    return _Asked(one["id"], target, fields)


def _mistakes(document: Any, most: int) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the shape of a batch: a place and what should be there."""
    if not isinstance(document, dict) or document.keys() != {"requests"}:
        yield "body", 'should be an object with the one member "requests"'
        return
    requests = document["requests"]
    if not isinstance(requests, list) or not requests:
        yield "requests", "should be a list of at least one request"
        return
    if len(requests) > most:
        yield "requests", f"has {len(requests)} requests, and {most} are allowed"
        return
    for number, one in enumerate(requests):
        at = f"requests[{number}]"
        if not isinstance(one, dict):
            yield at, "should be an object with id and path"
            continue
        for name in one.keys() - {"id", "path", "headers"}:
            yield f"{at}.{name}", "is not a member of a request, which has id, path and headers"
        yield from _mistakes_in(one, at)


def _mistakes_in(one: dict[str, Any], at: str) -> Iterator[tuple[str, str]]:
    name, path, fields = one.get("id"), one.get("path"), one.get("headers", {})
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_ID:
        yield f"{at}.id", f"should be a text of 1 to {LONGEST_ID} characters"
    if not isinstance(path, str) or _TARGET.fullmatch(path) is None:
        yield f"{at}.path", "should be a path and query as in a URL, such as /dashboard/1?x=y"
    if not isinstance(fields, dict):
        yield f"{at}.headers", "should be an object of header fields"
        return
    taken: set[str] = set()
    for field, value in fields.items():
        if field.lower() not in _OWN:
            allowed = ", ".join(OWN_FIELDS)
            yield f"{at}.headers.{field}", f"is for the whole batch; a request may have {allowed}"
        elif field.lower() in taken or not isinstance(value, str) or not _VALUE.fullmatch(value):
            yield f"{at}.headers.{field}", "should be one text of printable ASCII characters"
        taken.add(field.lower())
