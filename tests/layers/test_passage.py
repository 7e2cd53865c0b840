"""The driver alone: gates that write down what they hear, and wires that answer on command."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.call import Response
from gateway.errors import CallError, LimiterFull, UpstreamTimeout
from gateway.events import Events
from gateway.layers.deadline import deadline
from gateway.layers.passage import PARKED, Gate, Passage, Stack, startable
from tests.layers.fakes import context, request
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.call import Call, Request
    from gateway.events import Event

GOOD = Response("good")
BUG = ValueError("a bug")


class Diary(Gate):
    """Writes down which hooks are called, and does in them what a test asks for."""

    def __init__(self, name: str, heard: list[str], **actions: Any) -> None:
        super().__init__(context())
        self.name = name
        self.heard = heard
        self.actions = actions
        self.inner: Call | None = None

    def bind(self, inner: Call) -> None:
        self.inner = inner

    def admit(self, passage: Passage) -> object:
        return self._do("admit", passage)

    def succeeded(self, passage: Passage, response: Response) -> None:
        self._do("succeeded", passage)

    def failed(self, passage: Passage, error: CallError) -> Any:
        return self._do("failed", passage)

    def abandoned(self, passage: Passage, bug: BaseException | None) -> None:
        self._do("abandoned" if bug is None else "broken", passage)

    def _do(self, hook: str, passage: Passage) -> Any:
        self.heard.append(f"{self.name} {hook}")
        action = self.actions.get(hook)
        if isinstance(action, BaseException):
            raise action
        return action(passage) if callable(action) else action


class Post:
    """A wire that calls back, when a test says so."""

    def __init__(self) -> None:
        self.sent: list[Passage] = []
        self.cancelled = 0

    def __call__(self, request: Request) -> Awaitable[Response]:
        raise AssertionError

    def start(self, passage: Passage) -> None:
        passage.running = self
        self.sent.append(passage)

    def cancel(self) -> None:
        self.cancelled += 1


class Prompt(Post):
    """A wire that lands at once."""

    def __init__(self, land: Callable[[Passage], None]) -> None:
        super().__init__()
        self._land = land

    def start(self, passage: Passage) -> None:
        self._land(passage)


class Inbox:
    """A receiver."""

    def __init__(self) -> None:
        self.results: list[Any] = []

    def landed(self, context: Any, result: Any) -> None:
        assert context == "context"
        self.results.append(result)


class Parking:
    """A way to park: what runs is this, until it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = 0

    def __call__(self, passage: Passage) -> object:
        passage.running = self
        return PARKED

    def cancel(self) -> None:
        self.cancelled += 1


class Course:
    """Three gates, `a` outside `b` outside `c`, around a wire, and one call."""

    def __init__(self, wire: Any, **actions: dict[str, Any]) -> None:
        self.heard: list[str] = []
        self.inbox = Inbox()
        self.wire = wire
        self.gates = [Diary(name, self.heard, **actions.get(name, {})) for name in "abc"]
        self.a, self.b, self.c = self.gates
        self.stack = Stack(self.gates, wire, loop_time)

    def start(self) -> Passage:
        return self.stack.start(request(), self.inbox, "context")

    def later(self) -> list[str]:
        """Return what was heard since the last time, without the admissions."""
        heard = [line for line in self.heard if not line.endswith("admit")]
        self.heard.clear()
        return heard


ABANDONED = ["c abandoned", "b abandoned", "a abandoned"]
BROKEN = ["c broken", "b broken", "a broken"]


def refused() -> LimiterFull:
    return LimiterFull("no")


def interrupting(hook: str, place: str) -> UpstreamTimeout:
    return UpstreamTimeout(f"{hook} by {place}")


async def hangs_to_its_end(request: Request) -> Response:
    """Take a second to end once it is cancelled."""
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await asyncio.sleep(1)
        raise
    return GOOD


def test_a_good_call_takes_no_task_and_no_future(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        course = Course(Post())
        loop = asyncio.get_running_loop()

        def none(*_: Any, **__: Any) -> Any:
            raise AssertionError

        with monkeypatch.context() as patch:
            patch.setattr(loop, "create_task", none)
            patch.setattr(loop, "create_future", none)
            passage = course.start()
            assert course.inbox.results == []
            passage.succeed(GOOD)
        assert course.inbox.results == [GOOD]
        assert course.heard[:3] == ["a admit", "b admit", "c admit"]
        assert course.later() == ["c succeeded", "b succeeded", "a succeeded"]
        assert passage.done

    run(main())


@pytest.mark.parametrize(
    ("place", "heard"), [("a", []), ("b", ["a failed"]), ("c", ["b failed", "a failed"])]
)
def test_a_refusal_settles_only_the_gates_outside(place: str, heard: list[str]) -> None:
    async def main() -> None:
        no = refused()
        course = Course(Post(), **{place: {"admit": no}})
        course.start()
        assert course.inbox.results == [no]
        assert course.wire.sent == []
        assert course.later() == heard

    run(main())


def test_a_failure_may_be_replaced_on_its_way_out() -> None:
    async def main() -> None:
        no = refused()
        course = Course(Post(), b={"failed": lambda _: no})
        course.start().fail(interrupting("failed", "wire"))
        assert course.inbox.results == [no]
        assert course.later() == ["c failed", "b failed", "a failed"]

    run(main())


def test_an_awaitable_replaces_a_failure_for_the_gates_outside() -> None:
    async def main() -> None:
        async def again() -> Response:
            return GOOD

        course = Course(Post(), b={"failed": lambda _: again()})
        course.start().fail(refused())
        await asyncio.sleep(1)
        assert course.inbox.results == [GOOD]
        assert course.later() == ["c failed", "b failed", "a succeeded"]

    run(main())


def test_a_bug_in_such_an_awaitable_breaks_only_the_gates_outside() -> None:
    async def main() -> None:
        async def again() -> Response:
            raise BUG

        course = Course(Post(), b={"failed": lambda _: again()})
        course.start().fail(refused())
        await asyncio.sleep(1)
        assert course.inbox.results == [BUG]
        assert course.later() == ["c failed", "b failed", "a broken"]

    run(main())


def test_an_interruption_in_flight_abandons_the_gates_inside_and_fails_those_outside() -> None:
    async def main() -> None:
        course = Course(Post())
        passage = course.start()
        late = interrupting("late", "b")
        passage.interrupt(course.b, late)
        assert course.inbox.results == [late]
        assert course.wire.cancelled == 1
        # The gate that interrupts has to settle itself, too: it was admitted.
        assert course.later() == ["c abandoned", "a failed"]
        passage.interrupt(course.a, interrupting("late", "a"))
        assert course.inbox.results == [late]
        assert course.later() == []

    run(main())


def test_an_interruption_of_a_parked_call_leaves_out_the_gates_it_has_not_passed() -> None:
    async def main() -> None:
        parking = Parking()
        course = Course(Post(), b={"admit": parking})
        passage = course.start()
        late = interrupting("late", "a")
        passage.interrupt(course.a, late)
        assert course.inbox.results == [late]
        assert parking.cancelled == 1
        assert course.later() == []

    run(main())


@pytest.mark.parametrize("order", ["ac", "ca"])
def test_the_outermost_interruption_wins_while_a_task_is_ending(order: str) -> None:
    async def main() -> None:
        course = Course(hangs_to_its_end)
        passage = course.start()
        await asyncio.sleep(0.1)
        for name in order:
            passage.interrupt(getattr(course, name), interrupting("late", name))
        assert course.inbox.results == []  # not before the task has ended
        assert course.later() == []
        await asyncio.sleep(2)
        assert [str(error) for error in course.inbox.results] == ["late by a"]
        assert course.later() == ["c abandoned", "b abandoned"]

    run(main())


def test_a_call_cancelled_in_flight_abandons_each_gate_once() -> None:
    async def main() -> None:
        course = Course(Post())
        passage = course.start()
        assert passage.cancel() is None
        assert passage.cancel() is None
        assert course.wire.cancelled == 1
        assert course.later() == ABANDONED
        passage.interrupt(course.a, refused())
        assert course.inbox.results == []

    run(main())


def test_a_call_cancelled_while_parked_abandons_the_gates_it_has_passed_once() -> None:
    async def main() -> None:
        parking = Parking()
        course = Course(Post(), c={"admit": parking})
        passage = course.start()
        passage.cancel()
        assert parking.cancelled == 1
        assert course.later() == ["b abandoned", "a abandoned"]
        assert course.inbox.results == []

    run(main())


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_call_cancelled_in_a_task_abandons_each_gate_once_the_task_has_ended(
    interrupted: bool,
) -> None:
    async def main() -> None:
        course = Course(hangs_to_its_end)
        passage = course.start()
        await asyncio.sleep(0.1)
        if interrupted:
            passage.interrupt(course.b, refused())
        ending = passage.cancel()
        assert ending is not None
        assert not ending.done()
        assert course.later() == []
        await asyncio.wait([ending])
        await asyncio.sleep(0)
        assert course.later() == ABANDONED
        assert course.inbox.results == []

    run(main())


def test_a_deadline_that_passes_while_a_cancelled_call_is_ending_is_no_rejection() -> None:
    async def main() -> None:
        events: list[Event] = []
        stack = deadline(context(Events([events.append])))(hangs_to_its_end)
        passage = startable(stack, loop_time).start(request(1), Inbox(), "context")
        await asyncio.sleep(0.5)
        passage.cancel()
        await asyncio.sleep(2)
        assert events == []

    run(main())


def test_a_caller_that_awaits_and_is_cancelled_waits_for_the_task() -> None:
    async def main() -> None:
        course = Course(hangs_to_its_end)
        caller = asyncio.ensure_future(course.stack(request()))
        await asyncio.sleep(0.1)
        caller.cancel()
        await asyncio.sleep(0.5)
        assert not caller.done()
        assert course.later() == []
        await asyncio.sleep(1)
        assert caller.cancelled()
        assert course.later() == ABANDONED

    run(main())


def test_a_bug_in_the_wire_is_landed_and_breaks_all_gates() -> None:
    async def main() -> None:
        def broken(passage: Passage) -> None:
            raise BUG

        course = Course(Prompt(broken))
        passage = course.start()
        assert course.inbox.results == [BUG]
        assert course.later() == BROKEN
        assert passage.done

    run(main())


def test_a_bug_in_a_task_is_landed_and_breaks_all_gates() -> None:
    async def main() -> None:
        async def broken(request: Request) -> Response:
            raise BUG

        course = Course(broken)
        course.start()
        await asyncio.sleep(0.1)
        assert course.inbox.results == [BUG]
        assert course.later() == BROKEN

    run(main())


def test_a_bug_in_an_admission_is_landed_and_breaks_the_gates_outside() -> None:
    async def main() -> None:
        course = Course(Post(), b={"admit": BUG})
        course.start()
        assert course.inbox.results == [BUG]
        assert course.wire.sent == []
        assert course.later() == ["a broken"]

    run(main())


@pytest.mark.parametrize("hook", ["succeeded", "failed"])
def test_a_bug_in_a_hook_is_landed_and_tells_no_gate_twice(hook: str) -> None:
    async def main() -> None:
        course = Course(Post(), b={hook: BUG})
        passage = course.start()
        if hook == "succeeded":
            passage.succeed(GOOD)
        else:
            passage.fail(refused())
        assert course.inbox.results == [BUG]
        assert course.later() == [f"c {hook}", f"b {hook}", "a broken"]

    run(main())


def test_a_bug_in_a_hook_after_a_refusal_breaks_the_gates_outside() -> None:
    async def main() -> None:
        course = Course(Post(), c={"admit": refused()}, b={"failed": BUG})
        course.start()
        assert course.inbox.results == [BUG]
        assert course.later() == ["b failed", "a broken"]

    run(main())


def test_a_bug_in_a_hook_while_a_call_is_interrupted_tells_no_gate_twice() -> None:
    async def main() -> None:
        course = Course(Post(), b={"abandoned": BUG})
        course.start().interrupt(course.a, refused())
        assert course.inbox.results == [BUG]
        assert course.later() == ["c abandoned", "b abandoned", "a broken"]

    run(main())


def test_a_call_lands_even_if_a_hook_fails_on_its_bug() -> None:
    async def main() -> None:
        worse = KeyError("worse")
        course = Course(Post(), b={"broken": worse})
        with pytest.raises(KeyError):
            course.start().fail(BUG)
        assert course.inbox.results == [BUG]

    run(main())


def test_a_bug_of_the_receiver_is_raised_where_the_call_lands() -> None:
    async def main() -> None:
        class Broken(Inbox):
            def landed(self, context: Any, result: Any) -> None:
                super().landed(context, result)
                raise BUG

        course = Course(Prompt(lambda passage: passage.succeed(GOOD)))
        course.inbox = Broken()
        with pytest.raises(ValueError, match="a bug"):
            course.start()
        assert course.inbox.results == [GOOD]
        assert course.later() == ["c succeeded", "b succeeded", "a succeeded"]

    run(main())


def test_a_wire_may_land_before_start_returns() -> None:
    async def main() -> None:
        course = Course(Prompt(lambda passage: passage.succeed(GOOD)))
        assert course.start().done
        assert course.inbox.results == [GOOD]
        no = refused()
        course = Course(Prompt(lambda passage: passage.fail(no)))
        course.start()
        assert course.inbox.results == [no]
        assert course.later() == ["c failed", "b failed", "a failed"]

    run(main())


def test_a_task_that_something_else_cancels_is_a_bug() -> None:
    async def main() -> None:
        tasks: list[Any] = []

        async def wire(request: Request) -> Response:
            tasks.append(asyncio.current_task())
            await asyncio.sleep(3600)
            return GOOD

        course = Course(wire)
        course.start()
        await asyncio.sleep(0.1)
        tasks[0].cancel()
        await asyncio.sleep(0.1)
        (bug,) = course.inbox.results
        assert isinstance(bug, RuntimeError)
        assert isinstance(bug.__cause__, asyncio.CancelledError)
        assert course.later() == BROKEN

    run(main())


def test_a_bug_of_a_cancelled_call_is_reported_to_the_loop() -> None:
    async def main() -> None:
        async def wire(request: Request) -> Response:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise BUG from None
            return GOOD

        reports: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: reports.append(what))
        course = Course(wire)
        passage = course.start()
        await asyncio.sleep(0.1)
        passage.cancel()
        await asyncio.sleep(0.1)
        assert [report["exception"] for report in reports] == [BUG]
        assert course.inbox.results == []
        assert course.later() == BROKEN

    run(main())


def test_two_gates_park_a_call_one_after_the_other() -> None:
    async def main() -> None:
        course = Course(Post(), a={"admit": Parking()}, c={"admit": Parking()})
        passage = course.start()
        assert course.heard == ["a admit"]
        passage.resume(course.a)
        assert course.heard == ["a admit", "b admit", "c admit"]
        assert course.wire.sent == []
        passage.resume(course.c)
        assert course.wire.sent == [passage]
        passage.succeed(GOOD)
        assert course.inbox.results == [GOOD]
        assert course.later() == ["c succeeded", "b succeeded", "a succeeded"]

    run(main())


def test_a_gate_parks_a_call_each_time_it_is_tried_again() -> None:
    async def main() -> None:
        parking = Parking()
        course = Course(Post(), b={"admit": parking})
        inner = startable(course.gates[0].inner or course.wire, loop_time)
        for _ in range(2):
            passage = inner.start(request(), course.inbox, "context")
            passage.resume(course.b)
            passage.succeed(GOOD)
        assert course.inbox.results == [GOOD, GOOD]
        assert course.later() == ["c succeeded", "b succeeded"] * 2

    run(main())


def test_a_parked_call_resumes_at_its_own_time() -> None:
    async def main() -> None:
        course = Course(Post(), b={"admit": Parking()})
        passage = course.start()
        began = passage.now
        await asyncio.sleep(5)
        passage.resume(course.b)
        assert passage.now == pytest.approx(began + 5)

    run(main())


def test_a_parked_call_that_is_refused_fails_the_gates_outside() -> None:
    async def main() -> None:
        no = refused()
        course = Course(Post(), b={"admit": Parking()})
        passage = course.start()
        passage.refuse(course.b, no)
        assert course.inbox.results == [no]
        assert course.later() == ["a failed"]

    run(main())


def test_bind_gives_the_stack_of_the_gates_inside() -> None:
    async def main() -> None:
        course = Course(Post())
        for number, gate in enumerate(course.gates):
            inner = gate.inner
            assert isinstance(inner, Stack)
            assert list(inner.gates) == course.gates[number + 1 :]
            assert inner.wire is course.wire

    run(main())


def test_gates_around_each_other_are_one_stack() -> None:
    async def main() -> None:
        course = Course(Post())
        stack = course.a(course.b(course.c(course.wire)))
        assert list(stack.gates) == course.gates
        assert startable(stack, loop_time) is stack
        assert startable(course.wire, loop_time).gates == ()

    run(main())
