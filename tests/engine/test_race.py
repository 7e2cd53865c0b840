from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.call import Request, Response
from gateway.errors import UpstreamStatus, UpstreamTimeout
from gateway.values.provenance import Provenance
from gateway.values.restrictions import Restriction
from tests.operations import target_of
from tests.planning import Upstreams, plan, walked
from tests.virtual_time import run

RACE = plan('x: {race: ["a:/1", "b:/2", "a:/3"]}')


def racing(**results: tuple[float, Any]) -> Upstreams:
    async def answer(request: Request) -> Any:
        seconds, value = results["_" + target_of(request)[1:]]
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


def test_a_source_whose_shape_does_not_fit_is_no_winner() -> None:
    shaped = plan('x: {race: ["a:/1", "b:/2"], select: "length(@)"}')
    result = run(walked(shaped, racing(_1=(1, 5), _2=(2, "four"))))
    assert (result.data("x"), result.took) == (4, 2)


def test_all_that_is_started_at_once_is_started_at_once() -> None:
    upstreams = racing(_1=(3, UpstreamStatus("no")), _2=(2, "b"), _3=(3, "c"))
    run(walked(RACE, upstreams))
    assert upstreams.calls == [(0, "/1"), (0, "/2"), (0, "/3")]


def test_when_all_sources_fail_the_fallback_stands_in() -> None:
    stand_in = plan('x: {race: ["a:/1", "b:/2"], fallback: 7}')
    no = UpstreamStatus("no")
    result = run(walked(stand_in, racing(_1=(1, no), _2=(2, no))))
    assert (result.state("x"), result.data("x"), len(result.codes("x"))) == ("fallback", 7, 2)


def old(value: Any, as_of: float = 5.0) -> Response:
    """Return what a cache answers once it is stale."""
    return Response(
        value, provenance=Provenance(as_of=as_of, fresh_until=as_of + 1, stale=True, cache="stale")
    )


def test_a_fresh_answer_beats_a_stale_one_that_was_there_at_once() -> None:
    upstreams = racing(_1=(0, old("old")), _2=(2, "new"), _3=(3, "late"))
    result = run(walked(RACE, upstreams))
    assert (result.state("x"), result.data("x"), result.took) == ("ok", "new", 2)
    assert upstreams.cancelled == ["/3"]


def test_a_stale_answer_is_used_at_once_when_all_others_have_failed() -> None:
    no = UpstreamStatus("no")
    result = run(walked(RACE, racing(_1=(1, old("old")), _2=(0, no), _3=(3, no))))
    assert (result.state("x"), result.data("x"), result.took) == ("stale", "old", 3)
    assert result.merged.complete


def test_a_stale_answer_is_used_at_the_deadline_when_others_are_still_silent() -> None:
    upstreams = racing(_1=(1, old("old")), _2=(60, "new"), _3=(60, "new"))
    result = run(walked(RACE, upstreams))
    assert (result.state("x"), result.data("x"), result.took) == ("stale", "old", 10)
    assert sorted(upstreams.cancelled) == ["/2", "/3"]
    assert result.left == 0


def test_a_stale_answer_that_comes_when_no_other_can_is_used_at_once() -> None:
    no = UpstreamStatus("no")
    result = run(walked(RACE, racing(_1=(1, no), _2=(2, no), _3=(3, old("old")))))
    assert (result.state("x"), result.data("x"), result.took) == ("stale", "old", 3)


def test_of_several_stale_answers_the_newest_is_used() -> None:
    answers = racing(_1=(1, old("older", 4)), _2=(2, old("newest", 9)), _3=(3, old("old", 9)))
    result = run(walked(RACE, answers))
    assert (result.data("x"), result.took) == ("newest", 3)


def test_a_fresh_answer_from_the_cache_ends_the_race() -> None:
    hit = Response("hit", provenance=Provenance(as_of=5.0, fresh_until=2e9, cache="hit"))
    result = run(walked(RACE, racing(_1=(0, old("old")), _2=(0, hit), _3=(3, "late"))))
    assert (result.state("x"), result.data("x"), result.took) == ("ok", "hit", 0)


def forbidding(value: Any, restriction: Restriction, **more: Any) -> Response:
    return Response(value, provenance=Provenance(restrictions=restriction, **more))


def test_what_the_winner_forbids_holds_for_the_section_and_no_other_answer_does() -> None:
    private = forbidding("a", Restriction.PRIVATE)
    no_store = forbidding("b", Restriction.NO_STORE)
    result = run(walked(RACE, racing(_1=(2, no_store), _2=(1, private), _3=(3, "c"))))
    assert result.outcomes["x"].provenance.restrictions == Restriction.PRIVATE
    stale = forbidding("old", Restriction.NO_CACHE, stale=True)
    result = run(walked(RACE, racing(_1=(0, stale), _2=(1, private), _3=(3, "c"))))
    assert result.outcomes["x"].provenance.restrictions == Restriction.PRIVATE


@pytest.mark.parametrize(
    "second", [Response("now"), Response("old", provenance=Provenance(stale=True))]
)
def test_what_a_refused_answer_forbids_holds_too(second: Response) -> None:
    shaped = plan('x: {race: [{get: "a:/1", select: temp}, "b:/2"]}')
    refused = forbidding({"other": 1}, Restriction.PRIVATE)
    result = run(walked(shaped, racing(_1=(1, refused), _2=(2, second))))
    assert result.data("x") == second.value
    assert result.outcomes["x"].provenance.restrictions == Restriction.PRIVATE
