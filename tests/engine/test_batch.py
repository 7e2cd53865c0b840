from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.call import Request, Response
from gateway.errors import UpstreamStatus
from gateway.values.provenance import Provenance
from gateway.values.restrictions import Restriction
from tests.operations import target_of
from tests.planning import Upstreams, after, plan, walked
from tests.virtual_time import run

IDS = "{ids: {type: array, items: {type: integer}}}"


def batch_of(request: Request) -> list[int]:
    return [int(pair.partition("=")[2]) for pair in target_of(request).partition("?")[2].split("&")]


def test_a_batch_is_one_call_split_by_key() -> None:
    batched = plan(
        'posts: {get: "a:/posts"}\n'
        'authors: {for_each: {in: "{posts[*].by}", batch: 2, match: id}, '
        'get: "b:/users?id={item}", select: name}'
    )

    async def answer(request: Request) -> Any:
        if target_of(request) == "/posts":
            return [{"by": n} for n in (1, 2, 1, 3, 9)]
        # In another order than asked for, and without 9.
        return [{"id": n, "name": f"n{n}"} for n in reversed(batch_of(request)) if n != 9]

    upstreams = Upstreams(answer)
    result = run(walked(batched, upstreams))
    assert upstreams.targets == ["/posts", "/users?id=1&id=2", "/users?id=3&id=9"]
    assert result.data("authors") == ["n1", "n2", "n1", "n3", None]
    fault = result.outcomes["authors"].faults[0]
    assert (fault.element, fault.error.code, fault.error.detail) == (
        4, "upstream_payload", "the answer has nothing for 9",
    )  # fmt: skip


def test_a_batch_with_many_groups_what_belongs_together() -> None:
    batched = plan(
        'c: {for_each: {in: "{ids}", key: "@", batch: 50, match: post, many: true}, '
        'get: "b:/c?post={item}"}',
        parameters=IDS,
    )
    answer = [{"post": 1, "n": 1}, {"post": "2", "n": 2}, {"post": 1, "n": 3}, {"post": 99}]
    result = run(walked(batched, Upstreams(after(0, answer)), ids=[1, 2, 3]))
    assert result.data("c") == {
        "1": [{"post": 1, "n": 1}, {"post": 1, "n": 3}],
        "2": [{"post": "2", "n": 2}],
        "3": [],
    }
    assert result.merged.complete


def test_a_failed_batch_fails_its_own_elements_only() -> None:
    batched = plan('x: {for_each: {in: "{ids}", batch: 2}, get: "b:/x?id={item}"}', parameters=IDS)

    async def answer(request: Request) -> Any:
        if 1 in batch_of(request):
            raise UpstreamStatus("no", status=500)
        return (
            {"not": "a list"} if 5 in batch_of(request) else [{"id": n} for n in batch_of(request)]
        )

    result = run(walked(batched, Upstreams(answer), ids=[1, 2, 3, 4, 5]))
    assert result.data("x") == [None, None, {"id": 3}, {"id": 4}, None]
    assert result.codes("x") == ["upstream_status", "upstream_status", "upstream_payload"]


def listed(each: str, items: Any, answered: Any, rest: str = "") -> Any:
    batched = plan(
        f'l: {{get: "a:/l"}}\nx: {{for_each: {{in: "{{l}}", {each}}}, get: "b:/x?id={{item}}"{rest}}}'
    )
    upstreams = Upstreams(after(0, lambda r: items if target_of(r) == "/l" else answered))
    return run(walked(batched, upstreams)), upstreams.targets[1:]


def test_a_select_sees_one_element_and_fails_it_alone() -> None:
    answered = [{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": None}]
    result, _ = listed("batch: 5", [1, 2], answered, """, select: "join('-', tags)\"""")
    assert result.data("x") == ["a-b", None]
    assert [(f.element, f.error.upstream) for f in result.outcomes["x"].faults] == [(1, "b")]
    assert result.outcomes["x"].value == [answered[0], None]


def test_elements_that_cannot_be_asked_for_spoil_no_batch() -> None:
    result, targets = listed("batch: 5", [1, None, {}, 2, [3]], [{"id": 1}, {"id": 2}])
    assert targets == ["/x?id=1&id=2"]
    assert result.data("x") == [{"id": 1}, None, None, {"id": 2}, None]
    assert [fault.element for fault in result.outcomes["x"].faults] == [1, 2, 4]


def test_elements_without_a_key_are_told_and_not_asked_for() -> None:
    result, targets = listed('batch: 5, key: "abs(@)"', [1, "x", -1], [{"id": 1}])
    assert targets == ["/x?id=1"]
    assert result.data("x") == {"1": {"id": 1}}
    assert [fault.element for fault in result.outcomes["x"].faults] == [1, 2]  # -1 has the key of 1


@pytest.mark.parametrize(
    ("asked", "answered"), [(1, 1.0), (1.0, 1), (1, "1"), ("1", 1), (True, "true"), (1.5, "1.5")]
)
def test_values_meet_as_they_are_written_in_a_query(asked: Any, answered: Any) -> None:
    result, _ = listed("batch: 5", [asked], [{"id": None}, {"id": answered}])
    assert result.data("x") == [{"id": answered}]


def test_what_the_match_does_not_fit_is_nobodys() -> None:
    result, _ = listed('batch: 5, match: "length(n)"', [1, 2], [{"n": "a"}, {"n": 5}, {"n": "ab"}])
    assert result.data("x") == [{"n": "a"}, {"n": "ab"}]


def test_provenance_of_a_batch_is_that_of_its_answer() -> None:
    stale = Response(
        [{"id": 1}], provenance=Provenance(as_of=5.0, fresh_until=9.0, stale=True, cache="stale")
    )
    outcome = listed("batch: 5", [1], stale)[0].outcomes["x"]
    assert (outcome.state, outcome.provenance.as_of, outcome.provenance.fresh_until) == (
        "stale",
        5.0,
        9.0,
    )
    assert outcome.provenance.cache == "stale"


def test_what_the_one_answer_forbids_holds_for_every_element() -> None:
    private = Response([{"id": 1}], provenance=Provenance(restrictions=Restriction.PRIVATE))
    outcome = listed("batch: 5", [1], private)[0].outcomes["x"]
    assert outcome.provenance.restrictions == Restriction.PRIVATE


def test_no_more_batches_are_in_flight_than_declared() -> None:
    batched = plan(
        'x: {for_each: {in: "{ids}", batch: 2, concurrency: 2}, get: "b:/x?id={item}"}',
        parameters=IDS,
    )

    async def answer(request: Request) -> Any:
        await asyncio.sleep(0.1)
        return [{"id": n} for n in batch_of(request)]

    upstreams = Upstreams(answer)
    result = run(walked(batched, upstreams, ids=list(range(9))))
    assert (upstreams.most, result.took, len(upstreams.calls)) == (2, 0.3, 5)
    assert result.data("x") == [{"id": n} for n in range(9)]


def test_an_element_that_is_not_answered_is_named_in_few_characters() -> None:
    long = "x" * 60_000
    outcome = listed("batch: 5", [long], Response([]))[0].outcomes["x"]
    assert len(outcome.faults[0].error.detail) < 200
