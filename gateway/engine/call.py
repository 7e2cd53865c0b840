"""A section of one call: render the request, ask the upstream, shape its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orjson import Fragment

from gateway.call import Request
from gateway.engine.outcome import Outcome, State
from gateway.errors import ExpressionFailed, UpstreamPayload
from gateway.expressions.jmes import shape
from gateway.expressions.json_schema import complaint
from gateway.upstreams.kind import Sent
from gateway.values.excerpt import excerpt

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.call import Call, Operation, Response
    from gateway.engine.context import Context
    from gateway.expressions.reference import Scope
    from gateway.plan.model import Section, Source

__all__ = ["BoundSource", "CallRunner"]

_NOTHING_SENT = Sent()


class BoundSource:
    """A source of a section, bound to the Call of its upstream."""

    __slots__ = ("_call", "_section", "source")

    def __init__(self, section: Section, source: Source, call: Call) -> None:
        self.source = source
        self._section = section
        self._call = call

    def fetch(self, context: Context, scope: Scope) -> Awaitable[Response]:
        """Call the upstream; references see `scope`."""
        return self.call(context, self.operation(context, scope))

    def operation(self, context: Context, scope: Scope) -> Operation:
        """Return what the upstream is asked; references see `scope`."""
        sent = context.inputs.sent.get(self.source.upstream, _NOTHING_SENT)
        return self.source.template.operation(scope, sent)

    def call(self, context: Context, operation: Operation) -> Awaitable[Response]:
        """Call the upstream."""
        section = self._section
        return self._call(
            Request(
                operation,
                context.deadline,
                section.name,
                cache=section.cache,
                tags=section.tags,
                min_fresh=context.inputs.min_fresh,
            )
        )

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
            data = Fragment(written)  # the decoded value is freed at once
        else:
            data = value = response.value
            if section.schema is not None and (wrong := complaint(section.schema, value)):
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
        return Outcome(
            State.STALE if response.stale else State.OK,
            value,
            data,
            as_of=response.as_of,
            fresh_until=response.fresh_until,
            reason=response.reason,
            cache=response.cache,
            written=written,
            restrictions=response.restrictions,
        )


class CallRunner:
    """Runs a section that has one source."""

    __slots__ = ("_section", "_source")

    def __init__(self, section: Section, source: BoundSource) -> None:
        self._section = section
        self._source = source

    def start(self, context: Context) -> None:
        """Start the call."""
        context.spawn(self._section, self._run)

    async def _run(self, context: Context) -> Outcome:
        return self._source.shape(await self._source.fetch(context, context.scope))
