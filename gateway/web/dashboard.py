"""The endpoint of one dashboard: reads parameters, executes the plan, gives one answer or a stream.

`answer` takes a request without ASGI and responds by a callback; the gateway's own server calls it
directly. Any other server calls the endpoint as ASGI. FastAPI knows the route only for `/docs` and
OpenAPI.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from gateway.aio.tasks import cancel_and_wait
from gateway.aio.timers import Wheel
from gateway.answers.encodings import ENCODINGS
from gateway.call import Deadline
from gateway.engine.context import Inputs
from gateway.web.accept import DOCUMENT, ranked
from gateway.web.asgi_outlet import AsgiOutlet
from gateway.web.compression import takes_text
from gateway.web.delivery import Delivery
from gateway.web.disconnect import DisconnectWatch
from gateway.web.fields import Fields
from gateway.web.live import LiveStream
from gateway.web.load_shedding import Waiter
from gateway.web.meter import GONE
from gateway.web.parameters import InvalidRequestError, RequestParameters
from gateway.web.problems import BUSY, bug, invalid, not_for, problem
from gateway.web.response_cache import CachedAnswer
from gateway.web.response_headers import etag, freshness, matches
from gateway.web.selection import Selections
from gateway.web.streaming import HEARTBEAT, CachedStream, Heartbeat, Stream, stream_fields
from gateway.web.table import MisfitError, Table, table_fields
from gateway.web.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from gateway.call import Clock
    from gateway.engine.execution import BoundPlan, Execution
    from gateway.plan.model import Plan
    from gateway.transport import Objections
    from gateway.values.header_fields import Field
    from gateway.web.client_headers import ClientHeaders, Read
    from gateway.web.compression import Compression
    from gateway.web.fields import Respond
    from gateway.web.live import Live
    from gateway.web.load_shedding import Admission
    from gateway.web.meter import DashboardMeter
    from gateway.web.response_cache import ResponseCache
    from gateway.web.response_headers import Freshness
    from gateway.web.selection import Selection
    from gateway.web.streaming import Begin

__all__ = ["Answering", "DashboardEndpoint", "Watching"]

_log = logging.getLogger("gateway")
_SAFE = frozenset({"GET", "HEAD"})
_ALLOW = (b"allow", b"GET, HEAD, OPTIONS")
_ALLOWED = {"allow": "GET, HEAD, OPTIONS"}


class DashboardEndpoint:
    """Serves one plan.

    Args:
        bound: the plan, bound to its calls.
        client_headers: selects the client's header fields to read and pass on.
        admission: decides which requests are begun.
        response_cache: the response cache; `None` if no section is ever cached.
        clock: monotonic seconds.
        now: POSIX seconds.
        objections: assertions that failed in a test's mocks, raised after the answer.
        busy: whether a background call is in flight, in which a mock's assertion may still fail.
        meter: counts the answers.
        watching: what serves live streams, if the dashboard is live.
        compression: how answers are compressed; `None` if they are not.

    Attributes:
        plan: the plan.
        meter: counts the answers.
        forwarded: names of the client's header fields that make an answer private.
        door: admits its requests.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        bound: BoundPlan,
        *,
        client_headers: ClientHeaders,
        admission: Admission,
        response_cache: ResponseCache | None,
        clock: Clock,
        now: Clock,
        objections: Objections,
        busy: Callable[[], bool],
        meter: DashboardMeter,
        watching: Watching | None = None,
        compression: Compression | None = None,
    ) -> None:
        self.plan: Plan = bound.plan
        self.meter = meter
        self.forwarded = client_headers.forwarded
        self._selections = Selections(bound)
        self._parameters = RequestParameters(bound.plan.parameters)
        self._client_headers = client_headers
        self.door = admission.door(bound.plan.deadline)
        self._response_cache = response_cache
        self.clock = clock
        self._now = now
        self._objections = objections
        self._busy = busy
        self._wheel = Wheel()
        self._watching = watching
        self._polled = Selections(watching.bound) if watching is not None else None
        self._delivery = Delivery(
            client_headers.vary,
            response_cache,
            compression,
            guarded=takes_text(bound.plan.parameters),
        )
        self._encodings = {
            one.media_type: (one, stream_fields(one, self._delivery.vary_of_streams))
            for one in ENCODINGS
        }
        self._table_head = table_fields(self._delivery.vary_of_streams)

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, path: Sequence[tuple[str, str]]
    ) -> None:
        """Answer one request over ASGI; `path` has the path parameters as text."""
        outlet = AsgiOutlet()
        method, fields = scope["method"], scope["headers"]
        answering = self.answer(
            method,
            scope["raw_path"],
            scope["query_string"],
            fields,
            path,
            outlet.respond,
            outlet.begin,
        )
        if answering is None:
            await outlet.forward(send, _nothing)
        elif not await self._forward(answering, outlet, receive, send):
            return
        if answering is not None:
            await self.conclude(answering)

    async def _forward(
        self, answering: Answering, outlet: AsgiOutlet, receive: Receive, send: Send
    ) -> bool:
        """Send an answer as it is made; return false if the client has disconnected."""
        watch = DisconnectWatch(self._wheel, receive)
        try:
            await outlet.forward(send, watch.stop)
        except asyncio.CancelledError:
            await cancel_and_wait(answering.cancel())
            if not watch.gone:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            return False
        finally:
            watch.stop()
        return True

    def answer(
        self,
        method: str,
        raw_path: bytes,
        query: bytes,
        fields: Iterable[Field],
        path: Sequence[tuple[str, str]],
        respond: Respond,
        begin: Begin | None = None,
    ) -> Answering | None:
        """Answer one request: call `respond` or `begin`, now or later.

        Args:
            method: its method.
            raw_path: its path as it came, percent-encoded.
            query: its query as it came.
            fields: its header fields, with names in lower case.
            path: the path parameters as text.
            respond: called once with the answer, unless it is cancelled. The content of an answer
                to HEAD is empty where that saves making it.
            begin: called instead to begin an answer that is a stream; without it there are none.

        Returns:
            `None` if the request is answered; else what can be cancelled until it is.
        """
        if method not in _SAFE:
            if method == "OPTIONS":
                respond(204, Fields([_ALLOW]), b"")
            else:
                target = unquote(raw_path.decode("utf-8", "replace"))
                _refuse(respond, problem(405, not_for(method, target), headers=_ALLOWED))
            return None
        read = self._client_headers.read(fields)
        key = (raw_path, query)
        if read.accept and begin is not None:
            forms = ranked(read.accept)
            best = forms[0]
            if best in self._encodings:
                return self._stream(best, method, key, read, path, respond, begin)
            if best != DOCUMENT:
                table = Table(
                    self._table_head,
                    respond,
                    self._delivery.begin(begin, read),
                    head_only=method == "HEAD",
                    insists=DOCUMENT not in forms,
                )
                answering = Answering(self, method, key, read, path, respond, table=table)
                return answering if answering.enter(self.clock()) else None
        if self._response_cache is not None and not read.private:
            now = self._now()
            cached = self._response_cache.get(key, now)
            if cached is not None:
                self.meter.hit(self._delivery.give(respond, method, key, cached, read, now))
                return None
        answering = Answering(self, method, key, read, path, respond)
        return answering if answering.enter(self.clock()) else None

    def _stream(
        self,
        media_type: bytes,
        method: str,
        key: tuple[bytes, bytes],
        read: Read,
        path: Sequence[tuple[str, str]],
        respond: Respond,
        begin: Begin,
    ) -> Answering | None:
        """Answer with a stream; a stored one is sent in one piece."""
        encoding, head = self._encodings[media_type]
        live = self._watching is not None and method != "HEAD"
        cache = None if read.private or live else self._response_cache
        if cache is not None:
            now = self._now()
            stream_key = _stream_key(key, media_type)
            cached = cache.get(stream_key, now)
            if cached is not None:
                if read.last_event_id and matches(read.last_event_id, cached.etag):
                    respond(204, head, b"")
                    self.meter.hit(204)
                else:
                    self.meter.hit(200)
                    self._delivery.send(respond, method, stream_key, cached, read, now)
                return None
        stream = (LiveStream if live else Stream)(
            encoding,
            head,
            respond,
            # A live client may take 20 KB of memory; a compressor takes 56.
            begin if live else self._delivery.begin(begin, read),
            known=read.last_event_id,
            head_only=method == "HEAD",
            stored=cache is not None,
        )
        answering = Answering(self, method, key, read, path, respond, stream)
        return answering if answering.enter(self.clock()) else None

    async def conclude(self, answering: Answering) -> None:
        """Raise what a test's mock objected to while a request was answered."""
        if answering.objection is not None:
            self._objections.add(answering.objection)
        await self.settle()

    @property
    def is_mocked(self) -> bool:
        """Whether `settle` may raise."""
        return self._objections.expected

    async def settle(self) -> None:
        """Raise what a test's mock objected to during the last answer."""
        if self._objections.expected:
            await self._objections.settle(self._busy)

    # For `Answering`

    def start(self, answering: Answering, arrived: float) -> Execution | None:
        """Start the execution of a request that was begun; `None` if it is answered already."""
        try:
            parameters = self._understand(answering)
        except InvalidRequestError as error:
            answering.refuse(invalid(error.problems))
            return None
        deadline = Deadline(arrived + self.plan.deadline)
        cache = self._response_cache
        answering.mark = cache.mark if cache is not None else 0
        inputs = Inputs(parameters, answering.read.sent)
        selection, stream = answering.selection, answering.stream
        if answering.table is not None:
            try:
                answering.table.check(selection.plan)
            except MisfitError as misfit:
                if answering.table.insists:
                    answering.refuse(answering.table.refusal(misfit))
                    return None
                answering.table = None
        if stream is None:
            return selection.bound.start(inputs, deadline, answering.ended)
        if isinstance(stream, LiveStream):
            self._watch(answering, stream, inputs)
            return None
        stream.template = selection.events
        if self.plan.deadline > HEARTBEAT:
            self._wheel.attach()
            answering.heartbeat = Heartbeat(self._wheel, stream)
        return selection.bound.start(
            inputs,
            deadline,
            answering.ended,
            publish=stream.landed,
            publish_element=stream.element_landed,
        )

    def _watch(self, answering: Answering, stream: LiveStream, inputs: Inputs) -> None:
        """Let a client watch the dashboard."""
        watching, polled = self._watching, self._polled
        assert watching is not None  # noqa: S101 - only then are streams live
        assert polled is not None  # noqa: S101 - as above
        selection = polled.asked(answering.key[1])
        stream.count = answering.count
        try:
            refusal = watching.live.join(
                stream, selection, watching.every, inputs.parameters, inputs.sent
            )
        except Exception:
            stream.count = None  # who answers 500 counts it
            stream.leave()
            raise
        if refusal is not None:
            stream.refuse(refusal)

    def _understand(self, answering: Answering) -> dict[str, Any]:
        """Return the parameters of a request, and note the sections that it asks for.

        Raises:
            InvalidRequestError: the error lists every mistake in both.
        """
        query = answering.key[1]
        wrong: list[tuple[str, str]] = []
        parameters: dict[str, Any] = {}
        try:
            parameters = self._parameters.read(answering.path, query)
        except InvalidRequestError as error:
            wrong = error.problems
        try:
            answering.selection = self._selections.asked(query)
        except InvalidRequestError as error:
            wrong = wrong + error.problems
        if wrong:
            raise InvalidRequestError(wrong)
        return parameters

    def finish(self, answering: Answering, execution: Execution) -> bool:
        """Answer with what an execution came to; return whether it was in vain."""
        if isinstance(execution.bug, Exception):
            self.failed(answering, execution.bug)
            return False
        outcomes = execution.outcomes
        selection = answering.selection
        self.meter.landed(selection.plan, outcomes)
        try:
            merged, refusal, vain = judge(selection, outcomes)
        except Exception as error:
            self.failed(answering, error)
            return False
        if refusal is None and answering.table is not None:
            answered, refusal = answering.table.answer(selection.plan, outcomes, merged)
            if answered:
                answering.count(200)
                return False
        if refusal is not None:
            answering.refuse(refusal)
            return vain
        read = answering.read
        landed = [outcome for outcome in outcomes if outcome is not None]
        tag = etag(merged.rendered)
        if answering.stream is not None:
            answering.count(answering.stream.complete(merged, tag))
            self._store_stream(answering, tag, freshness(landed, complete=merged.complete))
            return False
        answer = CachedAnswer(
            merged.body,
            tag,
            freshness(landed, complete=merged.complete),
            selection.timing.of([outcome.elapsed for outcome in landed]),
            private=read.private,
            vary=self._delivery.vary(len(merged.body), private=read.private),
        )
        if self._response_cache is not None and not read.private:
            nothing = selection.timing.nothing
            self._response_cache.put(answering.key, answer, nothing, answering.mark)
        respond, method, key = answering.respond, answering.method, answering.key
        answering.count(self._delivery.give(respond, method, key, answer, read, self._now()))
        return False

    def _store_stream(self, answering: Answering, tag: bytes, fresh: Freshness) -> None:
        stream, cache = answering.stream, self._response_cache
        if stream is not None and cache is not None and (content := stream.content()):
            answer = CachedStream(content, tag, fresh, stream.head)
            key = _stream_key(answering.key, stream.encoding.media_type)
            cache.put(key, answer, b"", answering.mark)

    def failed(self, answering: Answering, error: Exception) -> None:
        """Answer 500: the gateway itself failed."""
        _log.error("dashboard %s failed", self.plan.name, exc_info=error)
        if self._objections.expected and isinstance(error, AssertionError):
            answering.objection = error
        answering.refuse(bug())


class Watching(NamedTuple):
    """What serves the live streams of one dashboard.

    Attributes:
        live: the live streams of the process.
        bound: the plan, bound to the calls of polls.
        every: seconds between two polls.
    """

    live: Live
    bound: BoundPlan
    every: float


class Answering(Waiter):
    """One request from its admission to its answer.

    Attributes:
        method, key, read, path, respond: what the request is; see `DashboardEndpoint.answer`.
        stream: what sends the answer as a stream; `None` for a document.
        table: what sends it as a table; `None` otherwise.
        mark: the latest purge when it was begun.
        selection: the sections that it asks for; set when it is begun.
        heartbeat: the heartbeats of a stream that may be silent for long.
        objection: what a test's mock objected to.
    """

    __slots__ = ("_arrived", "_began", "_endpoint", "_execution", "_over", "heartbeat",
                 "key", "mark", "method", "objection", "path", "read", "respond", "selection",
                 "stream", "table")  # fmt: skip

    def __init__(
        self,
        endpoint: DashboardEndpoint,
        method: str,
        key: tuple[bytes, bytes],
        read: Read,
        path: Sequence[tuple[str, str]],
        respond: Respond,
        stream: Stream | None = None,
        table: Table | None = None,
    ) -> None:
        super().__init__()
        self._endpoint = endpoint
        self.method = method
        self.key = key
        self.read = read
        self.path = path
        self.respond = respond
        self.stream = stream
        self.table = table
        self.mark = 0
        self.heartbeat: Heartbeat | None = None
        self.selection: Selection
        self.objection: AssertionError | None = None
        self._arrived = self._began = 0.0
        self._execution: Execution | None = None
        self._over = False

    def enter(self, arrived: float) -> bool:
        """Begin or wait to be begun; return false if it is answered already."""
        self._arrived = arrived
        door = self._endpoint.door
        if door.enter(arrived):
            self._start(arrived)
        elif not door.park(self, arrived):
            self.refused()
        return not self._over or (self.stream is not None and self.stream.is_open)

    def begun(self) -> None:
        """Start after a wait."""
        self._start(self._endpoint.clock())

    def refused(self) -> None:
        """Answer that there is too much to do."""
        self._over = True
        self.refuse(BUSY)

    def refuse(self, refusal: Response) -> None:
        """Answer with a problem."""
        if self.stream is not None:
            self.stream.refuse(refusal)
        else:
            _refuse(self.respond, refusal)
        self.count(refusal.status_code)

    def count(self, status: int) -> None:
        """Count the answer."""
        endpoint = self._endpoint
        endpoint.meter.answered(status, endpoint.clock() - self._arrived)

    def ended(self, execution: Execution) -> None:
        """Answer with what the execution came to."""
        if self._over:
            return
        shed = False
        try:
            shed = self._endpoint.finish(self, execution)
        except Exception as error:
            self._endpoint.failed(self, error)
        finally:
            self._leave(shed=shed)

    def cancel(self) -> list[asyncio.Task[Any]]:
        """Give up: `respond` is not called. Return the tasks that have yet to end."""
        if self._over:
            if self.stream is not None:
                self.stream.leave()
            return []
        self._over = True
        self.count(GONE)
        execution, self._execution = self._execution, None
        if execution is None:
            self._endpoint.door.abandon(self)
            return []
        ending = execution.cancel()
        if not ending:
            self._leave()
            return []
        left = set(ending)

        def ended(task: asyncio.Task[Any]) -> None:
            left.discard(task)
            if not left:  # what still ends counts as in flight
                self._leave()

        for task in ending:
            task.add_done_callback(ended)
        return ending

    def _start(self, began: float) -> None:
        self._began = began
        endpoint = self._endpoint
        try:
            execution = endpoint.start(self, self._arrived)
        except Exception as error:
            endpoint.failed(self, error)
            execution = None
        if self._over:  # it has ended already
            return
        if execution is None:
            self._leave()
        self._execution = execution

    def _leave(self, *, shed: bool = False) -> None:
        self._over = True
        self._execution = None
        if self.heartbeat is not None:
            self.heartbeat.stop()
        self._endpoint.door.leave(self._began, shed=shed)


def _stream_key(key: tuple[bytes, bytes], media_type: bytes) -> tuple[bytes, bytes]:
    """Return the key of a stored stream; a query has no line feed."""
    return key[0], b"%b\n%b" % (key[1], media_type)


def _nothing() -> None:
    """Stop no watch: nothing was waited for."""


def _refuse(respond: Respond, refusal: Response) -> None:
    respond(refusal.status_code, Fields(refusal.raw_headers), bytes(refusal.body))
