"""A section of one call: renders the request, calls the upstream, shapes its answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from orjson import Fragment

from gateway.call import Request
from gateway.engine.outcome import LargeOutcome, Outcome, State
from gateway.errors import CallError, ExpressionFailed, UpstreamPayload
from gateway.expressions.jmes import shape
from gateway.expressions.json_schema import violation
from gateway.expressions.reference import CutList, Glimpse
from gateway.layers.passage import startable
from gateway.offload import FEW, MANY, SMALL, UNDECODED, values_in
from gateway.upstreams.kind import NOTHING_SENT
from gateway.values.excerpt import excerpt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from gateway.call import Call, Clock, Operation, Response
    from gateway.engine.context import Context
    from gateway.expressions.reference import Scope
    from gateway.layers.passage import Receiver
    from gateway.offload import Offload, Shaped
    from gateway.plan.model import Section, Source

__all__ = ["BoundSource", "CallRunner"]

_OK, _STALE, *_ = State


class BoundSource:
    """A source of a section, bound to the Call of its upstream.

    Attributes:
        source: the source.
        offload: shapes large answers; without it they are shaped on the event loop.
    """

    __slots__ = ("_section", "_stack", "offload", "source")

    def __init__(
        self, section: Section, source: Source, call: Call, clock: Clock, offload: Offload | None
    ) -> None:
        self.source = source
        self.offload = offload
        self._section = section
        self._stack = startable(call, clock)

    def start(self, context: Context, receiver: Receiver) -> None:
        """Call the upstream; `receiver` gets the context with the response or the error.

        Raises:
            DependencyFailed: a reference has no value that fits its place.
        """
        request = self._request(context, self.operation(context, context.scope))
        context.calls.append(self._stack.start(request, receiver, context))

    def fetch(self, context: Context, scope: Scope) -> Awaitable[Response]:
        """Call the upstream and wait; references are resolved against `scope`."""
        return self.call(context, self.operation(context, scope))

    def operation(self, context: Context, scope: Scope) -> Operation:
        """Return the request to the upstream; references are resolved against `scope`."""
        sent = context.inputs.sent.get(self.source.upstream, NOTHING_SENT)
        return self.source.template.operation(scope, sent)

    def call(self, context: Context, operation: Operation) -> Awaitable[Response]:
        """Call the upstream and wait."""
        return self._stack(self._request(context, operation))

    def _request(self, context: Context, operation: Operation) -> Request:
        section = self._section
        return Request(
            operation,
            context.deadline,
            section.name,
            section.cache,
            section.tags,
            1,
            context.inputs.min_fresh,
        )

    def fits(self, response: Response) -> bool:
        """Whether an answer is small enough for `shape`, or no expression looks into it."""
        return len(response.body) <= SMALL or self._section.opaque or self.offload is None

    def shape(self, response: Response) -> Outcome:
        """Return the outcome of a good answer, checked by the section's schema and shaped.

        Raises:
            UpstreamPayload: the answer does not meet the schema.
            ExpressionFailed: a `select` cannot take the answer.
        """
        section, source = self._section, self.source
        value: Any = None
        data: Any
        written = response.body if section.opaque else b""
        if written:
            data = Fragment(written)  # frees the decoded value at once
        else:
            data = value = response.value
            if section.schema is not None and (wrong := violation(section.schema, value)):
                said = excerpt(response.body)
                raise UpstreamPayload(wrong, upstream=source.upstream, excerpt=said)
            try:
                if source.select is not None:
                    data = value = shape(source.select, value, source.upstream)
                if section.select is not None:
                    data = shape(section.select, value, source.upstream)
            except ExpressionFailed as error:
                error.excerpt = excerpt(response.body)
                raise
        provenance = response.provenance
        state = _STALE if provenance.stale else _OK
        return Outcome(state, value, data, written, provenance)

    async def shape_large(self, response: Response) -> Outcome:
        """Return the outcome of a good answer that does not fit `shape`, made by `offload`.

        Raises:
            UpstreamPayload: the answer does not meet the schema, or is too large to be shaped.
            ExpressionFailed: a `select` cannot take the answer.
        """
        values = values_in(response.body)
        if response.value is not UNDECODED and values <= FEW:
            return self.shape(response)
        try:
            return await self._shaped_elsewhere(response, values)
        except (UpstreamPayload, ExpressionFailed) as error:
            error.excerpt = excerpt(response.body)
            raise

    async def _shaped_elsewhere(self, response: Response, values: int) -> Outcome:
        section, source, offload = self._section, self.source, self.offload
        assert offload is not None  # noqa: S101 - without `offload` every answer fits
        body, value = response.body, response.value
        undecoded = value is UNDECODED
        is_element = section.for_each is not None
        if undecoded and is_element and (section.reads or section.judged):
            raise UpstreamPayload(
                f"the answer has more than {MANY} values, so other sections cannot refer to "
                "it as an element",
                upstream=source.upstream,
            )
        base = source.select.text if source.select is not None else None
        select = section.select.text if section.select is not None else None
        written = seen = body
        # Then references do not read `response.value`: it is undecoded, or the source's `select`
        # replaces it.
        apart = undecoded or base is not None
        reads = section.reads if apart and not is_element else ()
        if section.answer is not None or base is not None or select is not None or reads:
            made = await offload.shape(
                source.upstream,
                body,
                values=values,
                schema=section.answer,
                base=base,
                select=select,
                reads=reads,
                whole=section.judged,
            )
            written = made.data or body
            seen = made.whole or body
            if apart:
                value = None if made.null else _glimpse(reads, made)
        provenance = response.provenance
        state = _STALE if provenance.stale else _OK
        data = Fragment(written)
        outcome = Outcome(state, value, data, written=written, provenance=provenance)
        return LargeOutcome.of(outcome, seen)


class CallRunner:
    """Runs a section that has one source."""

    __slots__ = ("_section", "_source")

    def __init__(self, section: Section, source: BoundSource) -> None:
        self._section = section
        self._source = source

    def start(self, context: Context) -> None:
        """Start the call."""
        self._source.start(context, self)

    def landed(self, context: Context, result: Response | BaseException) -> None:
        """Shape an answer, or take an error, and let the section land with it."""
        source = self._source
        try:
            if isinstance(result, CallError):
                outcome = Outcome.failed(result)
            elif isinstance(result, BaseException):
                context.broke(result)
                return
            elif len(result.body) <= SMALL or source.fits(result):
                outcome = source.shape(result)
            else:
                context.spawn(self._section, partial(self._shape_large, result))
                return
        except CallError as error:
            outcome = Outcome.failed(error)
        except BaseException as bug:
            context.broke(bug)
            return
        context.landed(self._section, outcome)

    async def _shape_large(self, response: Response, _: Context) -> Outcome:
        return await self._source.shape_large(response)


def _glimpse(reads: Sequence[tuple[str, int | None]], made: Shaped) -> Glimpse:
    """Return what references read; only that is decoded here."""
    found: dict[str, Any] = {}
    beyond: dict[str, str] = {}
    for (text, _), body, total in zip(reads, made.reads, made.totals, strict=True):
        if values_in(body) > MANY:
            beyond[text] = f"reads more than {MANY} values of a large answer"
            continue
        value = orjson.loads(body)
        found[text] = CutList(value, total) if total is not None else value
    return Glimpse(found, beyond)
