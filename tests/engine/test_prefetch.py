from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.call import Request
from gateway.engine.context import Inputs
from gateway.engine.execution import BoundPlan
from gateway.engine.prefetch import Prefetch
from gateway.errors import ConfigError
from gateway.expressions.reference import ABSENT
from gateway.plan.load import loads
from tests.planning import UPSTREAMS, Upstreams
from tests.virtual_time import loop_time, run

TEXT = (
    UPSTREAMS
    + """
dashboards:
  warm:
    path: /warm
    prefetch: 10s
    parameters: {n: {type: integer, default: 5}, o: {type: string, required: false}}
    sections: {x: {get: "a:/x?n={n}&o={o}"}}
  cold: {path: /cold, sections: {x: {get: "a:/cold"}}}
"""
)


def test_named_dashboards_are_asked_for_again_and_again_with_their_defaults() -> None:
    async def main() -> Upstreams:
        async def answer(request: Request) -> Any:
            return 1

        upstreams = Upstreams(answer)
        plans = loads(TEXT).plans
        bound_plans = [BoundPlan(plan, {"a": upstreams}, clock=loop_time) for plan in plans]
        prefetch = Prefetch(bound_plans, clock=loop_time, sleep=asyncio.sleep)
        prefetch.start()
        await asyncio.sleep(25)
        await prefetch.aclose()
        await asyncio.sleep(25)
        assert len(asyncio.all_tasks()) == 1
        return upstreams

    assert run(main()).calls == [(0, "/x?n=5"), (10, "/x?n=5"), (20, "/x?n=5")]


def test_a_bug_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        plan = loads(TEXT).plans[0]
        runs = 0

        async def execute(self, inputs: Inputs, deadline: object) -> None:
            assert inputs.parameters == {"n": 5, "o": ABSENT}
            self.runs += 1
            raise ZeroDivisionError

    async def main() -> int:
        broken = Broken()
        prefetch = Prefetch([broken], clock=loop_time, sleep=asyncio.sleep)  # type: ignore[list-item]
        prefetch.start()
        await asyncio.sleep(15)
        await prefetch.aclose()
        return broken.runs

    assert run(main()) == 2
    assert "prefetch of dashboard warm failed" in caplog.text


def test_a_dashboard_that_needs_a_parameter_cannot_be_prefetched() -> None:
    with pytest.raises(ConfigError, match="parameters all have defaults"):
        loads(TEXT.replace("default: 5", "minimum: 5"))
