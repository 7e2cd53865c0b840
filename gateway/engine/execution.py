"""The fan-out: walks a plan's graph with the most concurrency that it allows.

Every section is a task that starts the moment its own inputs have landed; there are no waves. A
section's error becomes an Outcome, so sections cannot kill their siblings; only a failed required
section ends the walk early. Bugs and cancellation propagate, and whichever way the walk ends, every
task it started has ended too.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from orjson import Fragment

from gateway.aio.deadlines import execution_grace
from gateway.aio.tasks import cancel_and_wait
from gateway.aio.timers import Alarm, Wheel
from gateway.call import Request
from gateway.engine import for_each, race
from gateway.engine.outcome import Outcome, State, dependency_failed
from gateway.errors import CallError, DeadlineExceeded, ExpressionFailed, UpstreamPayload
from gateway.events import Events, SectionFailed, cause_of
from gateway.expressions.jmes import is_true, search, shape
from gateway.expressions.json_schema import complaint
from gateway.expressions.reference import ABSENT
from gateway.values.excerpt import excerpt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from gateway.call import Call, Clock, Deadline, Response
    from gateway.expressions.reference import Scope
    from gateway.plan.model import Plan, Section, Source

__all__ = ["FanOut", "Walk"]

_NOTHING: Mapping[str, Sequence[tuple[bytes, bytes]]] = {}


class FanOut:
    """A plan bound to the calls it makes; made once, run for every request."""

    __slots__ = ("_clock", "_events", "_wheel", "calls", "plan")

    def __init__(
        self,
        plan: Plan,
        calls: Mapping[str, Call],
        *,
        clock: Clock = time.monotonic,
        events: Events | None = None,
    ) -> None:
        self.plan = plan
        self.calls = calls
        self._clock = clock
        self._events = Events() if events is None else events
        self._wheel = Wheel()

    async def run(
        self,
        parameters: Mapping[str, Any],
        deadline: Deadline,
        headers: Mapping[str, Sequence[tuple[bytes, bytes]]] | None = None,
        *,
        propagated: Mapping[str, Sequence[tuple[bytes, bytes]]] | None = None,
        ahead: float = 0.0,
    ) -> list[Outcome | None]:
        """Return the outcome of every section, in the order of the plan.

        One is `None` only where a required section failed before it landed.

        Args:
            parameters: values by name; `ABSENT` for an optional one that was left out.
            deadline: when all has to be there; what is not is `deadline_exceeded`.
            headers: for each upstream the header fields to forward.
            propagated: for each upstream the header fields to propagate, see `Request.propagated`.
            ahead: seconds for which kept answers should stay fresh, see `Request.ahead`.
        """
        loop = self._wheel.task().get_loop()
        walk = Walk(
            self.plan, self.calls, dict(parameters), deadline, headers or {}, self._clock, loop,
            self._events, propagated=propagated or _NOTHING, ahead=ahead,
        )  # fmt: skip
        for index in self.plan.roots:
            walk.start(index)
        remaining = deadline.remaining(self._clock())
        self._wheel.set(walk, remaining + execution_grace(self.plan.deadline))
        try:
            await walk.done
        finally:
            walk.slot.discard(walk)
            await cancel_and_wait(walk.tasks)
        return walk.outcomes


class Walk(Alarm):
    """One request's way through a plan; rings when the deadline has struck.

    Attributes:
        scope: what references see: parameters, and the values of sections that have landed.
        outcomes: what has landed so far, by section.
        elements: for `for_each` sections that others follow, their elements as they land.
        ahead: seconds for which kept answers should stay fresh.
    """

    __slots__ = ("_waiting", "ahead", "calls", "clock", "deadline", "done", "elements", "events",
                 "headers", "left", "loop", "outcomes", "plan", "propagated", "scope",
                 "tasks")  # fmt: skip

    def __init__(
        self,
        plan: Plan,
        calls: Mapping[str, Call],
        scope: Scope,
        deadline: Deadline,
        headers: Mapping[str, Sequence[tuple[bytes, bytes]]],
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        events: Events,
        *,
        propagated: Mapping[str, Sequence[tuple[bytes, bytes]]] = _NOTHING,
        ahead: float = 0.0,
    ) -> None:
        self.plan = plan
        self.calls = calls
        self.scope = scope
        self.deadline = deadline
        self.headers = headers
        self.propagated = propagated
        self.clock = clock
        self.loop = loop
        self.events = events
        self.done: asyncio.Future[None] = loop.create_future()
        self.tasks: list[asyncio.Task[None]] = []
        self.outcomes: list[Outcome | None] = [None] * len(plan.sections)
        self.left = len(plan.sections)
        self.elements: dict[int, for_each.Elements] = {}
        self.ahead = ahead
        self._waiting: list[int] | None = None

    def start(self, index: int) -> None:
        """Start a section; all that it waits for is there."""
        self.tasks.append(self.loop.create_task(self._section(self.plan.sections[index])))

    async def _section(self, section: Section) -> None:
        began = self.clock()
        try:
            outcome = self._foregone(section)
            if outcome is None:
                if section.for_each is not None:
                    outcome = await for_each.run(self, section, section.for_each)
                elif len(section.sources) > 1:
                    outcome = await race.run(self, section)
                else:
                    source = section.sources[0]
                    response = await self.fetch(section, source, self.scope)
                    outcome = self.good(section, source, response)
        except CallError as error:
            outcome = Outcome.failed(error)
        except asyncio.CancelledError as cancelled:
            if not self.done.done():  # not the walk's doing: without this it would wait in vain
                bug = RuntimeError(f"section {section.name} was cancelled by none of its callers")
                bug.__cause__ = cancelled
                self.done.set_exception(bug)
            raise
        except BaseException as bug:
            if not self.done.done():
                self.done.set_exception(bug)
            return
        if outcome.state is State.FAILED and section.has_fallback:
            outcome = outcome.replaced(section.fallback)
        outcome.elapsed = self.clock() - began
        self._land(section, outcome)

    def _foregone(self, section: Section) -> Outcome | None:
        """Return what a section comes to without asking anyone, `None` where it must ask."""
        for need in section.needs:
            landed = self.outcomes[need]
            assert landed is not None  # noqa: S101 - it would not have been started
            if not landed.usable:
                if landed.state is State.SKIPPED:
                    return Outcome(State.SKIPPED)
                raise dependency_failed(self.plan.sections[need].name, landed)
        if section.when is not None and not is_true(search(section.when, self._visible(), "when")):
            return Outcome(State.SKIPPED)
        return None

    def fetch(self, section: Section, source: Source, scope: Scope) -> Awaitable[Response]:
        """Make one call of a section."""
        upstream = source.upstream
        return self.calls[upstream](
            Request(
                source.template.render(scope),
                self.deadline,
                section.name,
                headers=self.headers.get(upstream, ()),
                cache=section.cache,
                tags=section.tags,
                ahead=self.ahead,
                propagated=self.propagated.get(upstream, ()),
            )
        )

    def good(self, section: Section, source: Source, response: Response) -> Outcome:
        """Return the outcome that a good answer makes, shaped."""
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

    def opened(self, section: Section, elements: for_each.Elements) -> None:
        """Tell that a section knows its elements, so that its followers can start."""
        self.elements[section.index] = elements
        for follower in self.plan.followers[section.index]:
            self._release(follower)

    def ring(self) -> None:
        """End the walk: the deadline has struck."""
        if self.done.done():
            return
        for section in self.plan.sections:
            if self.outcomes[section.index] is None:
                upstream = section.sources[0].upstream if len(section.sources) == 1 else None
                error = DeadlineExceeded(
                    "the time for the whole answer is spent", upstream=upstream
                )
                outcome = Outcome.failed(error)
                if section.has_fallback:
                    outcome = outcome.replaced(section.fallback)
                outcome.elapsed = self.plan.deadline
                self.outcomes[section.index] = outcome
                self._tell(section, outcome)
        self.done.set_result(None)

    def _land(self, section: Section, outcome: Outcome) -> None:
        if self.done.done():
            return
        index = section.index
        self.outcomes[index] = outcome
        if outcome.faults or outcome.reason is not None:
            self._tell(section, outcome)
        self.left -= 1
        if outcome.usable:
            self.scope[section.name] = outcome.value
        elif section.required and outcome.state is State.FAILED:
            self.done.set_result(None)
            return
        if self.left == 0:
            self.done.set_result(None)
            return
        for dependent in self.plan.dependents[index]:
            self._release(dependent)
        if index not in self.elements:  # it never got as far as to open its list
            for follower in self.plan.followers[index]:
                self._release(follower)

    def _tell(self, section: Section, outcome: Outcome) -> None:
        """Emit what went wrong with a section, one event for each kind of error."""
        if not self.events.wants(SectionFailed):
            return
        errors = [fault.error for fault in outcome.faults]
        if isinstance(outcome.reason, CallError):
            errors.append(outcome.reason)
        kinds: dict[tuple[str, str | None], list[CallError]] = {}
        for error in errors:
            kinds.setdefault((error.code, error.upstream), []).append(error)
        for (_, upstream), alike in kinds.items():
            self.events.emit(
                SectionFailed(
                    upstream or "",
                    section.name,
                    self.plan.name,
                    outcome.state,
                    len(alike),
                    **cause_of(alike[0]),
                )
            )

    def _release(self, index: int) -> None:
        """Count one input as there; start the section when it was the last."""
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = [
                len(s.needs) + (s.for_each is not None and s.for_each.flows_from is not None)
                for s in self.plan.sections
            ]
        waiting[index] -= 1
        if waiting[index] == 0:
            self.start(index)

    def _visible(self) -> dict[str, Any]:
        """Return the scope as JMESPath may see it: what is absent is null."""
        return {name: None if value is ABSENT else value for name, value in self.scope.items()}
