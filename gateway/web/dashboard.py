"""The endpoint of one dashboard: reads parameters, executes the plan, gives one answer.

`answer` takes a request without ASGI and responds by a callback; the gateway's own server calls it
directly. Any other server calls the endpoint as ASGI. FastAPI knows the route only for `/docs` and
OpenAPI.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from gateway.aio.timers import Wheel
from gateway.answers.document import DocumentTemplate, compose
from gateway.call import Deadline
from gateway.engine.context import Inputs
from gateway.web.disconnect import DisconnectWatch
from gateway.web.fields import Fields
from gateway.web.load_shedding import in_vain
from gateway.web.parameters import InvalidRequestError, RequestParameters
from gateway.web.problems import BUSY, invalid, not_for, overloaded, problem, status_of
from gateway.web.response_cache import CachedAnswer
from gateway.web.response_headers import ServerTiming, etag, freshness, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from gateway.answers.document import Document
    from gateway.call import Clock
    from gateway.engine.execution import BoundPlan
    from gateway.plan.model import Plan
    from gateway.transport import Objections
    from gateway.web.client_headers import ClientHeaders, Read
    from gateway.web.fields import Field, Respond
    from gateway.web.load_shedding import Admission
    from gateway.web.response_cache import ResponseCache

__all__ = ["DashboardEndpoint"]

_log = logging.getLogger("gateway")
_SAFE = frozenset({"GET", "HEAD"})


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
    ) -> None:
        self.plan: Plan = bound.plan
        self._bound = bound
        self._parameters = RequestParameters(bound.plan.parameters)
        self._client_headers = client_headers
        self._door = admission.door(bound.plan.deadline)
        self._response_cache = response_cache
        self._clock = clock
        self._now = now
        self._objections = objections
        self._busy = busy
        self._wheel = Wheel()
        self._plain = DocumentTemplate(bound.plan)
        self._timing = ServerTiming(bound.plan)

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, path: Sequence[tuple[str, str]]
    ) -> None:
        """Answer one request over ASGI; `path` has the path parameters as text."""
        answers: list[tuple[int, Fields, bytes]] = []
        executing = self.answer(
            scope["method"],
            scope["raw_path"],
            scope["query_string"],
            scope["headers"],
            path,
            lambda *answer: answers.append(answer),
        )
        if executing is not None:
            watch = DisconnectWatch(self._wheel, receive)
            try:
                await executing
            except asyncio.CancelledError:
                if not watch.gone:
                    raise
                task = asyncio.current_task()
                if task is not None:
                    task.uncancel()
            finally:
                watch.stop()
        for status, fields, body in answers:
            head = {"type": "http.response.start", "status": status, "headers": [*fields]}
            await send(head)
            await send({"type": "http.response.body", "body": body})
        if executing is not None:
            await self.settle()

    def answer(
        self,
        method: str,
        raw_path: bytes,
        query: bytes,
        fields: Iterable[Field],
        path: Sequence[tuple[str, str]],
        respond: Respond,
    ) -> Coroutine[Any, Any, None] | None:
        """Answer one request: call `respond` now, or return the work after which it is called.

        Args:
            method: its method.
            raw_path: its path as it came, percent-encoded.
            query: its query as it came.
            fields: its header fields, with names in lower case.
            path: the path parameters as text.
            respond: called once with the answer, unless the work is cancelled. The content of an
                answer to HEAD is empty where that saves making it.

        Returns:
            `None` if the request is answered; else what has to run, and be started, until it is.
            Cancelling it gives up the upstream calls.
        """
        if method not in _SAFE:
            target = unquote(raw_path.decode("utf-8", "replace"))
            headers = {"allow": "GET, HEAD"}
            _refuse(respond, problem(405, not_for(method, target), headers=headers))
            return None
        read = self._client_headers.read(fields)
        key = (raw_path, query)
        if self._response_cache is not None and not read.private:
            now = self._now()
            cached = self._response_cache.get(key, now)
            if cached is not None:
                _give(respond, method, cached, read.if_none_match, now)
                return None
        return self._execute(method, key, read, path, respond, self._clock())

    async def settle(self) -> None:
        """Raise what a test's mock objected to during the last answer."""
        if self._objections.expected:
            await self._objections.settle(self._busy)

    async def _execute(
        self,
        method: str,
        key: tuple[bytes, bytes],
        read: Read,
        path: Sequence[tuple[str, str]],
        respond: Respond,
        arrived: float,
    ) -> None:
        """Answer a request once it is admitted."""
        inside = shed = False
        began = arrived
        try:
            inside = self._door.enter(arrived)
            if not inside:
                inside = await self._door.wait(arrived)
                began = self._clock()
            if inside:
                shed = await self._run(method, key, read, path, respond, arrived)
            else:
                _refuse(respond, BUSY)
        finally:
            if inside:
                self._door.leave(began, shed=shed)

    async def _run(
        self,
        method: str,
        key: tuple[bytes, bytes],
        read: Read,
        path: Sequence[tuple[str, str]],
        respond: Respond,
        arrived: float,
    ) -> bool:
        """Answer a request that was begun; return whether it was in vain."""
        try:
            parameters = self._parameters.read(path, key[1])
        except InvalidRequestError as error:
            _refuse(respond, invalid(error.problems))
            return False
        deadline = Deadline(arrived + self.plan.deadline)
        mark = self._response_cache.mark if self._response_cache is not None else 0
        try:
            outcomes = await self._bound.execute(Inputs(parameters, read.sent), deadline)
            merged = compose(self.plan, outcomes, self._plain)
        except Exception as error:
            _log.exception("dashboard %s failed", self.plan.name)
            if self._objections.expected and isinstance(error, AssertionError):
                self._objections.add(error)
            _refuse(respond, problem(500, "the gateway itself failed; its log has the cause"))
            return False
        vain = bool(merged.errors) and in_vain(self.plan, outcomes)
        if merged.required is not None:
            _refuse(respond, _required_failed(merged, vain=vain))
            return vain
        if vain:
            _refuse(respond, overloaded(merged.errors))
            return True
        landed = [outcome for outcome in outcomes if outcome is not None]
        answer = CachedAnswer(
            merged.body,
            etag(merged.rendered),
            freshness(landed, complete=merged.complete),
            self._timing.of([outcome.elapsed for outcome in landed]),
            private=read.private,
            vary=self._client_headers.vary,
        )
        if self._response_cache is not None and not read.private:
            self._response_cache.put(key, answer, self._timing.nothing, mark)
        _give(respond, method, answer, read.if_none_match, self._now())
        return False


def _required_failed(merged: Document, *, vain: bool) -> Response:
    """Return the problem of an answer whose required section failed."""
    assert merged.required is not None  # noqa: S101 - checked by the caller
    error = merged.required.error
    status = 503 if vain else status_of(error)
    return problem(
        status,
        f"a required section failed: {error.detail}",
        retry_after=error.retry_after or (1 if status == 503 else None),  # noqa: PLR2004
        code=error.code,
        errors=merged.errors,
    )


def _refuse(respond: Respond, refusal: Response) -> None:
    respond(refusal.status_code, Fields(refusal.raw_headers), bytes(refusal.body))


def _give(
    respond: Respond, method: str, answer: CachedAnswer, if_none_match: bytes, now: float
) -> None:
    """Respond with an answer, or with 304 if the client has it already."""
    if if_none_match and matches(if_none_match, answer.etag):
        respond(304, answer.fields(now), b"")
    else:
        respond(200, answer.whole_fields(now), b"" if method == "HEAD" else answer.body)
