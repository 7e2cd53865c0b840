from __future__ import annotations

import asyncio
from typing import Any

from gateway.call import Request
from gateway.errors import UpstreamStatus, UpstreamTimeout
from tests.planning import Upstreams, plan, walked
from tests.virtual_time import run

RACE = plan('x: {race: ["a:/1", "b:/2", "a:/3"]}')


def racing(**results: tuple[float, Any]) -> Upstreams:
    async def answer(request: Request) -> Any:
        seconds, value = results["_" + request.target[1:]]
        await asyncio.sleep(seconds)
        if isinstance(value, Exception):
            raise value
        return value

    return Upstreams(answer)


def test_the_first_good_answer_wins_and_the_others_are_cancelled() -> None:
    upstreams = racing(_1=(3, "a"), _2=(1, "b"), _3=(2, "c"))
    result = run(walked(RACE, upstreams))
    assert (result.data("x"), result.took) == ("b", 1)
    assert sorted(upstreams.cancelled) == ["/1", "/3"]
    assert result.left == 0


def test_a_failure_is_no_good_answer() -> None:
    result = run(walked(RACE, racing(_1=(3, "a"), _2=(1, UpstreamStatus("no")), _3=(2, "c"))))
    assert (result.data("x"), result.took) == ("c", 2)
    assert result.merged.complete


def test_of_two_that_end_at_once_the_one_declared_first_wins() -> None:
    assert run(walked(RACE, racing(_1=(1, "a"), _2=(1, "b"), _3=(1, "c")))).data("x") == "a"


def test_when_all_fail_every_reason_is_told() -> None:
    late = UpstreamTimeout("late", upstream="a")
    no = UpstreamStatus("no", upstream="b")
    result = run(walked(RACE, racing(_1=(3, late), _2=(1, no), _3=(2, late))))
    assert result.codes("x") == ["upstream_timeout", "upstream_status", "upstream_timeout"]
    assert result.took == 3


def test_each_source_is_brought_into_the_common_shape() -> None:
    shaped = plan(
        'x: {race: [{get: "a:/1", select: "{t: temp}"}, {get: "b:/2", select: now}], select: t}\n'
        'y: {get: "a:/y?t={x.t}"}'
    )
    upstreams = racing(_1=(2, {"temp": 5}), _2=(1, {"other": 1}), **{"_y?t=5": (0, 1)})
    result = run(walked(shaped, upstreams))
    assert result.data("x") == 5  # the second source was first, but its select found nothing
    assert result.outcomes["x"].value == {"t": 5}
