"""The execution: one request's walk through a plan, as concurrent as the plan allows.

Every section starts the moment its own inputs have landed; there are no waves. A section's error
becomes an Outcome, so sections cannot cancel each other; only a failed required section ends the
execution early. Bugs and cancellation propagate. When an execution ends, every task that it
started has ended.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from gateway.aio.deadlines import DeadlineAlarm, execution_grace
from gateway.aio.tasks import cancel_and_wait
from gateway.aio.timers import Wheel
from gateway.engine.outcome import LargeOutcome, Outcome, State, dependency_failed
from gateway.engine.reporting import report
from gateway.engine.runners import bind
from gateway.errors import CallError, DeadlineExceeded, ExpressionFailed
from gateway.events import Events
from gateway.expressions.jmes import is_true, names_read, search
from gateway.expressions.reference import ABSENT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.call import Call, Clock, Deadline
    from gateway.engine.context import Context, Elements, Inputs
    from gateway.expressions.jmes import Expression
    from gateway.expressions.reference import Scope
    from gateway.layers.passage import Passage
    from gateway.offload import Offload
    from gateway.plan.model import Plan, Section

    Publish = Callable[[Section, Outcome], None]
    PublishElement = Callable[[Section, str | int, Outcome], None]

__all__ = ["BoundPlan", "Execution"]

_, _, _, _SKIPPED, _FAILED = State


class BoundPlan:
    """A plan bound to the calls that it makes; made once, executed for every request.

    Args:
        plan: the plan.
        calls: the Call of each upstream.
        clock: monotonic seconds.
        events: where failures are reported.
        offload: shapes large answers; without it they are shaped on the event loop.

    Attributes:
        wheel: runs the alarms of its executions.
        grace: seconds after the deadline at which an execution is ended.
    """

    __slots__ = ("_calls", "clock", "events", "grace", "offload", "plan", "runners", "wheel")

    def __init__(
        self,
        plan: Plan,
        calls: Mapping[str, Call],
        *,
        clock: Clock = time.monotonic,
        events: Events | None = None,
        offload: Offload | None = None,
    ) -> None:
        self.plan = plan
        self._calls = calls
        self.runners = bind(plan, calls, clock, offload)
        self.clock = clock
        self.events = Events() if events is None else events
        self.offload = offload
        self.wheel = Wheel()
        self.grace = execution_grace(plan.deadline)

    def part(self, plan: Plan) -> BoundPlan:
        """Return a part of the plan, bound to the same calls."""
        part = BoundPlan(
            plan, self._calls, clock=self.clock, events=self.events, offload=self.offload
        )
        part.wheel = self.wheel
        return part

    def start(
        self,
        inputs: Inputs,
        deadline: Deadline,
        ended: Callable[[Execution], None],
        *,
        publish: Publish | None = None,
        publish_element: PublishElement | None = None,
    ) -> Execution:
        """Start an execution; `ended` is called once, now or later, unless it is cancelled.

        Then nothing that the execution started is running any more.

        Args:
            inputs: inputs of the request.
            deadline: sections that have not landed by then fail with `deadline_exceeded`. It is for
                this execution alone.
            ended: receives the execution, with its outcomes or with a bug.
            publish: called with each section and its outcome, in the order in which they land.
            publish_element: called with each element of a `for_each` section that has a place in
                its result, with its key or index and its outcome, before the section lands.
        """
        execution = Execution(self, inputs, deadline, ended, publish, publish_element)
        execution.begin(self.clock())
        return execution

    async def execute(
        self,
        inputs: Inputs,
        deadline: Deadline,
        *,
        publish: Publish | None = None,
        publish_element: PublishElement | None = None,
    ) -> list[Outcome | None]:
        """Return the outcome of every section, in the order of the plan.

        An outcome is `None` only if a required section failed before this one landed. The arguments
        are those of `start`.
        """
        ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def ended(_: Execution) -> None:
            if not ending.done():
                ending.set_result(None)

        execution = self.start(
            inputs, deadline, ended, publish=publish, publish_element=publish_element
        )
        try:
            await ending
        except asyncio.CancelledError:
            await cancel_and_wait(execution.cancel())
            raise
        if execution.bug is not None:
            raise execution.bug
        return execution.outcomes


class Execution(DeadlineAlarm):
    """One request's walk through a plan. It is the `Context` of its runners.

    It is also the alarm of its deadline: that ends its calls, and a little later itself.

    Attributes:
        scope: what references see: parameters, and the values of sections that have landed.
        outcomes: the outcomes that have landed so far, by section.
        elements: the elements of `for_each` sections that others follow, as they land.
        calls: the calls that were started without a task.
        tasks: the tasks that the execution owns.
        over: every section has landed, a required one has failed, or it was cancelled.
        bug: an error of the gateway itself, which ended the execution.
    """

    __slots__ = ("_began", "_bound", "_ended", "_large", "_left", "_now", "_publish",
                 "_publish_element", "_ready", "_starting", "_waiting", "bug", "calls", "elements",
                 "inputs", "loop", "outcomes", "over", "plan", "scope", "tasks")  # fmt: skip

    def __init__(
        self,
        bound: BoundPlan,
        inputs: Inputs,
        deadline: Deadline,
        ended: Callable[[Execution], None],
        publish: Publish | None,
        publish_element: PublishElement | None,
    ) -> None:
        super().__init__(bound.wheel, deadline, bound.clock)
        self.plan = plan = bound.plan
        self.inputs = inputs
        self.scope: Scope = dict(inputs.parameters)
        self.loop = asyncio.get_running_loop()
        self.over = False
        self.bug: BaseException | None = None
        self.calls: list[Passage] = []
        self.tasks: list[asyncio.Task[Any]] = []
        count = len(plan.sections)
        self.outcomes: list[Outcome | None] = [None] * count
        self.elements: dict[int, Elements] = {}
        self._bound = bound
        self._ended = ended
        self._publish = publish
        self._publish_element = publish_element
        self._began = [0.0] * count
        # By section name, as JSON: values too large to evaluate a `when` on the event loop.
        self._large: dict[str, bytes] | None = None
        self._left = count
        self._waiting: list[int] | None = None
        self._ready: list[int] = [*plan.roots]
        self._starting = False
        self._now = 0.0  # when what is ready became so

    def begin(self, now: float) -> None:
        """Start every section that does not wait for another, at `now`."""
        self._now = now
        self.set(self.deadline.at - now)
        self._start_ready()

    def cancel(self) -> list[asyncio.Task[Any]]:
        """End the execution; return the tasks that have yet to end. `ended` is not called."""
        self._close()
        return self._stop()

    # The `Context` interface, for runners.

    def spawn(
        self, section: Section, run: Callable[[Context], Awaitable[Outcome | None]]
    ) -> asyncio.Task[None]:
        """Run a section as a task that lands with what `run` returns.

        If `run` returns `None`, another task reports the outcome later.
        """
        task = self.loop.create_task(self._run(section, run))
        self.tasks.append(task)
        return task

    def opened(self, section: Section, elements: Elements) -> None:
        """Record the elements of a section and start the sections that follow it."""
        self.elements[section.index] = elements
        self._now = self._bound.clock()
        for follower in self.plan.followers[section.index]:
            self._release(follower)
        self._start_ready()

    def element_landed(self, section: Section, key: str | int, outcome: Outcome) -> None:
        """Publish the outcome of one element of a `for_each` section."""
        if self._publish_element is not None and not self.over:
            self._publish_element(section, key, outcome)

    def broke(self, bug: BaseException) -> None:
        """End the execution because of a bug."""
        self._end(bug)

    def landed(self, section: Section, outcome: Outcome) -> None:
        """Record and publish an outcome, and start the sections that waited for it."""
        if self.over:
            return
        index = section.index
        failed = outcome.state is _FAILED
        if failed and section.has_fallback:
            outcome = outcome.replaced(section.fallback)
            failed = False
        self._now = now = self._bound.clock()
        outcome.elapsed = now - self._began[index]
        self.outcomes[index] = outcome
        if outcome.faults or outcome.provenance.reason is not None or self._publish is not None:
            self._announce(section, outcome)
        self._left -= 1
        if self._left == 0 or (failed and section.required):
            self._end()
            return
        if not failed and outcome.state is not _SKIPPED:
            self.scope[section.name] = outcome.value
            if section.judged:
                self._note_large(section, outcome)
        if self.plan.dependents[index] or self.plan.followers[index]:
            self._let_go_on(index)

    def rest(self) -> None:
        """Go on; the calls have ended, but not the execution."""

    def expire(self) -> None:
        """End the calls at the deadline, and the execution a little later."""
        super().expire()
        if not self.over:
            self.set(self.deadline.at + self._bound.grace - self._bound.clock())

    def ring(self) -> None:
        """End the calls or, after them, the execution; sections that have not landed fail."""
        if self.over:
            return
        if self.deadline.alarm is self:
            super().ring()
            return
        for section in self.plan.sections:
            if self.outcomes[section.index] is None:
                upstream = section.sources[0].upstream if len(section.sources) == 1 else None
                error = DeadlineExceeded(
                    "the deadline of the whole answer has passed", upstream=upstream
                )
                outcome = Outcome.failed(error)
                if section.has_fallback:
                    outcome = outcome.replaced(section.fallback)
                outcome.elapsed = self.plan.deadline
                self.outcomes[section.index] = outcome
                self._announce(section, outcome)
        self._end()

    # Internals

    def _note_large(self, section: Section, outcome: Outcome) -> None:
        """Note a large value that a `when` looks into."""
        if isinstance(outcome, LargeOutcome) and self._bound.offload:
            self._large = {**(self._large or {}), section.name: outcome.seen}

    def _announce(self, section: Section, outcome: Outcome) -> None:
        """Report what went wrong with a section, and publish its outcome."""
        if outcome.faults or outcome.provenance.reason is not None:
            report(self._bound.events, self.plan.name, section.name, outcome)
        if self._publish is not None:
            try:
                self._publish(section, outcome)
            except Exception as bug:  # not the runner's, which called `landed`
                self._end(bug)

    def _start(self, index: int) -> None:
        """Start a section whose inputs have landed."""
        if self.over:
            return
        section = self.plan.sections[index]
        self._began[index] = self._now
        try:
            outcome = self._foregone(section) if section.needs else None
            if outcome is None and section.when is not None:
                if self._large is not None and (scope := self._large_scope(section.when)):
                    self.spawn(section, partial(self._start_if, section, scope))
                    return
                if not is_true(search(section.when, self._visible(), "when")):
                    outcome = Outcome(_SKIPPED)
            if outcome is None:
                self._bound.runners[index].start(self)
                return
        except CallError as error:
            outcome = Outcome.failed(error)
        except BaseException as bug:
            self._end(bug)
            return
        self.landed(section, outcome)

    def _foregone(self, section: Section) -> Outcome | None:
        """Return the outcome of a section that lacks an input, or `None` if it has all of them."""
        for need in section.needs:
            landed = self.outcomes[need]
            assert landed is not None  # noqa: S101 - all inputs have landed
            if not landed.usable:
                if landed.state is _SKIPPED:
                    return Outcome(_SKIPPED)
                raise dependency_failed(self.plan.sections[need].name, landed)
        return None

    def _large_scope(self, when: Expression) -> bytes:
        """Return the values that a `when` looks into as JSON; empty if none of them is large."""
        large = self._large or {}
        names = names_read(when.text)
        everything = "@" in when.text
        if not everything and not names & large.keys():
            return b""
        try:
            members = [
                orjson.dumps(name) + b":" + (large.get(name) or orjson.dumps(value))
                for name, value in self._visible().items()
                if everything or name in names
            ]
        except TypeError as error:  # for example an integer of more than 64 bits
            raise ExpressionFailed(
                f"`when` failed: a value cannot be written as JSON: {error}"
            ) from None
        return b"{" + b",".join(members) + b"}"

    async def _start_if(self, section: Section, scope: bytes, _: Context) -> Outcome | None:
        """Start a section if its `when`, evaluated by a worker, is true."""
        when, offload = section.when, self._bound.offload
        assert when is not None  # noqa: S101 - checked by the caller
        assert offload is not None  # noqa: S101 - without `offload` no value counts as large
        if not await offload.is_true(when.text, scope):
            return Outcome(_SKIPPED)
        if not self.over:
            self._bound.runners[section.index].start(self)
        return None

    async def _run(
        self, section: Section, run: Callable[[Context], Awaitable[Outcome | None]]
    ) -> None:
        try:
            outcome = await run(self)
        except CallError as error:
            outcome = Outcome.failed(error)
        except asyncio.CancelledError as cancelled:
            if not self.over:  # cancelled from outside; without this the execution hangs
                bug = RuntimeError(
                    f"section {section.name} was cancelled, but not by its execution"
                )
                bug.__cause__ = cancelled
                self._end(bug)
            raise
        except BaseException as bug:
            self._end(bug)
            return
        if outcome is not None:
            self.landed(section, outcome)

    def _close(self) -> None:
        """Let nothing land any more."""
        self.over = True
        self.slot.discard(self)
        self.watched.clear()
        if self.deadline.alarm is self:
            self.deadline.alarm = None  # else they would hold each other

    def _end(self, bug: BaseException | None = None) -> None:
        """End the execution; what still runs is cancelled."""
        if self.over:
            return
        self._close()
        self.bug = bug
        if self.tasks:
            # One of them may be the caller, which ends by itself.
            self.loop.call_soon(self._finish)
        elif ending := self._stop():
            self._wait(ending)
        else:
            self._ended(self)

    def _finish(self) -> None:
        if ending := self._stop():
            self._wait(ending)
        else:
            self._ended(self)

    def _wait(self, ending: list[asyncio.Task[Any]]) -> None:
        """Wait in a task until the tasks have ended."""
        self.tasks = ending
        waiting = self.loop.create_task(cancel_and_wait(ending))
        waiting.add_done_callback(lambda _: self._ended(self))

    def _stop(self) -> list[asyncio.Task[Any]]:
        """Cancel what is in flight; return the tasks that have yet to end."""
        calls, self.calls = self.calls, []
        running = [task for task in self.tasks if not task.done()]
        for task in running:
            task.cancel()
        for call in calls:
            try:
                ending = call.cancel()
            except Exception as error:  # the others are cancelled all the same
                what = {"message": "a call could not be cancelled", "exception": error}
                self.loop.call_exception_handler(what)
            else:
                if ending is not None:
                    running.append(ending)
        return running

    def _let_go_on(self, index: int) -> None:
        """Start the sections that waited only for this one, which has landed."""
        for dependent in self.plan.dependents[index]:
            self._release(dependent)
        if index not in self.elements:  # it failed before it knew its elements
            for follower in self.plan.followers[index]:
                self._release(follower)
        self._start_ready()

    def _release(self, index: int) -> None:
        """Count one input as landed; the section is ready when it was the last."""
        waiting = self._waiting
        if waiting is None:
            waiting = self._waiting = [
                len(s.needs) + (s.for_each is not None and s.for_each.flows_from is not None)
                for s in self.plan.sections
            ]
        waiting[index] -= 1
        if waiting[index] == 0:
            self._ready.append(index)

    def _start_ready(self) -> None:
        """Start the sections that are ready, and those that become ready by that.

        A section may land while it is started. In a loop, because a chain of a hundred of them
        would be too deep for calls within calls.
        """
        if self._starting:
            return
        self._starting = True
        ready = self._ready
        try:
            for index in ready:  # it may grow meanwhile
                self._start(index)
        finally:
            ready.clear()
            self._starting = False

    def _visible(self) -> dict[str, Any]:
        """Return the scope for JMESPath, where absent values are null."""
        return {name: None if value is ABSENT else value for name, value in self.scope.items()}
