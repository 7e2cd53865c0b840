"""The endpoint of one dashboard: reads parameters, executes the plan, sends one answer. Plain ASGI.

The path of a request runs without a framework. FastAPI knows the route only for `/docs` and
OpenAPI.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.aio.timers import Wheel
from gateway.answers.document import DocumentTemplate, compose
from gateway.call import Deadline
from gateway.engine.context import Inputs
from gateway.web.disconnect import DisconnectWatch
from gateway.web.load_shedding import in_vain
from gateway.web.parameters import InvalidRequestError, RequestParameters
from gateway.web.problems import BUSY, NOSNIFF, invalid, not_for, overloaded, problem, status_of
from gateway.web.response_cache import CachedAnswer
from gateway.web.response_headers import ServerTiming, etag, freshness, matches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import Receive, Scope, Send

    from gateway.answers.document import Document
    from gateway.call import Clock
    from gateway.engine.execution import BoundPlan
    from gateway.plan.model import Plan
    from gateway.transport import Objections
    from gateway.web.client_headers import ClientHeaders, Read
    from gateway.web.load_shedding import Admission
    from gateway.web.response_cache import ResponseCache

__all__ = ["DashboardEndpoint"]

_log = logging.getLogger("gateway")
_JSON = (b"content-type", b"application/json")
_ANY = ((b"vary", b"*"),)


class DashboardEndpoint:
    """Serves one plan.

    Args:
        bound: the plan, bound to its calls.
        client_headers: selects the client's header fields to read and pass on.
        admission: admits requests when there is time for them.
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
        """Answer one request; `path` has the path parameters as text."""
        method = scope["method"]
        if method not in {"GET", "HEAD"}:
            refusal = problem(405, not_for(method, scope["path"]), headers={"allow": "GET, HEAD"})
            await refusal(scope, receive, send)
            return
        read = self._client_headers.read(scope["headers"])
        key = (scope["raw_path"], scope["query_string"])
        if self._response_cache is not None and not read.private:
            cached = self._response_cache.get(key, self._now())
            if cached is not None:
                await self._send(send, method, cached, read.if_none_match)
                return
        arrived = began = self._clock()
        watch = DisconnectWatch(self._wheel, receive)
        inside = shed = False
        try:
            inside = self._door.enter(arrived) or await self._door.wait(arrived)
            if inside:
                began = self._clock()
                shed = await self._answer(scope, receive, send, path, read, key, arrived)
            else:
                await BUSY(scope, receive, send)
        except asyncio.CancelledError:
            if not watch.gone:
                raise
            watch_task = asyncio.current_task()
            if watch_task is not None:
                watch_task.uncancel()
        finally:
            if inside:
                self._door.leave(began, shed=shed)
            watch.stop()
        if self._objections.expected:
            await self._objections.settle(self._busy)

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        path: Sequence[tuple[str, str]],
        read: Read,
        key: tuple[bytes, bytes],
        arrived: float,
    ) -> bool:
        """Answer a request that was begun; return whether it was in vain."""
        try:
            parameters = self._parameters.read(path, scope["query_string"])
        except InvalidRequestError as error:
            refusal = invalid(error.problems)
            await refusal(scope, receive, send)
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
            bug = problem(500, "the gateway itself failed; its log has the cause")
            await bug(scope, receive, send)
            return False
        vain = bool(merged.errors) and in_vain(self.plan, outcomes)
        if merged.required is not None:
            await self._required_failed(merged, scope, receive, send, vain=vain)
            return vain
        if vain:
            await overloaded(merged.errors)(scope, receive, send)
            return True
        landed = [outcome for outcome in outcomes if outcome is not None]
        answer = CachedAnswer(
            merged.body,
            etag(merged.rendered),
            freshness(landed, complete=merged.complete),
            self._timing.of([outcome.elapsed for outcome in landed]),
            private=read.private,
        )
        if self._response_cache is not None and not read.private:
            self._response_cache.put(key, answer, self._timing.nothing, mark)
        await self._send(send, scope["method"], answer, read.if_none_match)
        return False

    async def _required_failed(
        self, merged: Document, scope: Scope, receive: Receive, send: Send, *, vain: bool
    ) -> None:
        assert merged.required is not None  # noqa: S101 - checked by the caller
        error = merged.required.error
        status = 503 if vain else status_of(error)
        refusal = problem(
            status,
            f"a required section failed: {error.detail}",
            retry_after=error.retry_after or (1 if status == 503 else None),  # noqa: PLR2004
            code=error.code,
            errors=merged.errors,
        )
        await refusal(scope, receive, send)

    async def _send(
        self, send: Send, method: str, answer: CachedAnswer, if_none_match: bytes
    ) -> None:
        vary = _ANY if answer.varies else self._client_headers.vary
        headers = [*answer.fields(self._now()), *vary]
        body = answer.body
        status = 200
        if if_none_match and matches(if_none_match, answer.etag):
            status, body = 304, b""
        else:
            headers = [*headers, _JSON, NOSNIFF, (b"content-length", b"%d" % len(body))]
            if method == "HEAD":
                body = b""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
