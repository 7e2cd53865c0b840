"""Plans under test: made from YAML, run on virtual time against calls that are functions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from gateway.answers.document import compose
from gateway.call import Deadline, Request, Response
from gateway.engine.context import Inputs
from gateway.engine.execution import BoundPlan
from gateway.plan.load import loads
from tests.operations import target_of
from tests.virtual_time import loop_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.engine.outcome import Outcome
    from gateway.events import Events
    from gateway.offload import Offload
    from gateway.plan.model import Plan

    Answer = Callable[[Request], Awaitable[Any]]

UPSTREAMS = "upstreams: {a: {base_url: http://a.test}, b: {base_url: http://b.test}}\n"


def plan(sections: str, *, path: str = "/d", parameters: str = "{}", deadline: str = "10s") -> Plan:
    """Return the plan of one dashboard; `sections` is YAML flow or block text."""
    indented = "\n".join("      " + line for line in sections.strip("\n").splitlines())
    return loads(
        f"{UPSTREAMS}dashboards:\n  d:\n    path: {path}\n    deadline: {deadline}\n"
        f"    parameters: {parameters}\n    sections:\n{indented}\n"
    ).plans[0]


class Upstreams:
    """Both upstreams as one function of the target; notes what is asked when.

    Attributes:
        calls: `(seconds since the start, target)` of each call.
        cancelled: targets of calls that were cancelled.
        in_flight: calls under way.
        most: the most calls that were ever under way at once.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._began: float | None = None
        self.calls: list[tuple[float, str]] = []
        self.cancelled: list[str] = []
        self.in_flight = 0
        self.most = 0

    async def __call__(self, request: Request) -> Response:
        if self._began is None:
            self._began = loop_time()
        self.calls.append((round(loop_time() - self._began, 6), target_of(request)))
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            value = await self._answer(request)
        except asyncio.CancelledError:
            self.cancelled.append(target_of(request))
            raise
        finally:
            self.in_flight -= 1
        return value if isinstance(value, Response) else Response(value, body=orjson.dumps(value))

    @property
    def targets(self) -> list[str]:
        return [target for _, target in self.calls]


class Result:
    """What a walk came to.

    Attributes:
        outcomes: by section name.
        took: virtual seconds.
        left: tasks that outlived the walk.
    """

    def __init__(self, plan: Plan, outcomes: list[Outcome | None], took: float, left: int) -> None:
        self.plan = plan
        self.raw = outcomes
        self.outcomes = {
            section.name: outcome
            for section, outcome in zip(plan.sections, outcomes, strict=True)
            if outcome is not None
        }
        self.took = round(took, 6)
        self.left = left
        self.merged = compose(plan, outcomes)

    def data(self, name: str) -> Any:
        data = self.outcomes[name].data
        return orjson.loads(orjson.dumps(data)) if isinstance(data, orjson.Fragment) else data

    def state(self, name: str) -> str:
        return self.outcomes[name].state.value

    def codes(self, name: str) -> list[str]:
        return [fault.error.code.value for fault in self.outcomes[name].faults]


async def walked(
    plan: Plan,
    upstreams: Upstreams,
    *,
    events: Events | None = None,
    offload: Offload | None = None,
    **parameters: Any,
) -> Result:
    """Run a plan once."""
    before = len(asyncio.all_tasks())
    began = loop_time()
    calls = {"a": upstreams, "b": upstreams}
    bound = BoundPlan(plan, calls, clock=loop_time, events=events, offload=offload)
    outcomes = await bound.execute(Inputs(parameters), Deadline(began + plan.deadline))
    took = loop_time() - began
    return Result(plan, outcomes, took, len(asyncio.all_tasks()) - before)


def after(seconds: float, value: Any = None) -> Answer:
    """Return an answer that takes `seconds`; the value may be a function of the request."""

    async def answer(request: Request) -> Any:
        await asyncio.sleep(seconds)
        if isinstance(value, Exception):
            raise value
        return value(request) if callable(value) else value

    return answer
