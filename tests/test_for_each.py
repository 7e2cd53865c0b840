from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.call import Request, Response
from gateway.errors import UpstreamStatus
from tests.planning import Upstreams, after, plan, walked
from tests.virtual_time import run

IDS = "{ids: {type: array, items: {type: integer}, required: false}}"


def number(request: Request) -> int:
    return int(request.target.rpartition("/")[2])


def test_elements_keep_their_order_whatever_lands_first() -> None:
    listed = plan('x: {for_each: "{ids}", get: "a:/x/{item}"}', parameters=IDS)

    async def answer(request: Request) -> int:
        await asyncio.sleep(1 / number(request))
        return number(request) * 10

    result = run(walked(listed, Upstreams(answer), ids=[1, 2, 3]))
    assert result.data("x") == [10, 20, 30]
    assert result.took == 1


def test_no_more_elements_are_in_flight_than_declared() -> None:
    bounded = plan(
        'x: {for_each: {in: "{ids}", concurrency: 3}, get: "a:/x/{item}"}', parameters=IDS
    )
    upstreams = Upstreams(after(0.1, number))
    result = run(walked(bounded, upstreams, ids=list(range(10))))
    assert upstreams.most == 3
    assert result.took == 0.4
    assert result.data("x") == list(range(10))


def test_distinct_targets_are_called_once() -> None:
    listed = plan('x: {for_each: "{ids}", get: "a:/x/{item}"}', parameters=IDS)
    upstreams = Upstreams(after(0.1, number))
    result = run(walked(listed, upstreams, ids=[1, 2, 1, 1]))
    assert upstreams.targets == ["/x/1", "/x/2"]
    assert result.data("x") == [1, 2, 1, 1]


def test_a_distinct_target_that_fails_fails_every_element_that_made_it() -> None:
    listed = plan('x: {for_each: "{ids}", get: "a:/x/{item}"}', parameters=IDS)
    upstreams = Upstreams(after(0, lambda r: refuse(r, 1)))
    result = run(walked(listed, upstreams, ids=[1, 2, 1]))
    assert upstreams.targets == ["/x/1", "/x/2"]
    assert result.data("x") == [None, 2, None]
    assert [fault.element for fault in result.outcomes["x"].faults] == [0, 2]


def refuse(request: Request, *refused: int) -> int:
    if number(request) in refused:
        raise UpstreamStatus("no", upstream="a", status=404)
    return number(request)


def test_each_element_fails_alone() -> None:
    keyed = plan('x: {for_each: {in: "{ids}", key: "@"}, get: "a:/x/{item}"}', parameters=IDS)
    result = run(walked(keyed, Upstreams(after(0, lambda r: refuse(r, 2))), ids=[1, 2, 3]))
    assert result.data("x") == {"1": 1, "2": None, "3": 3}
    assert result.state("x") == "ok"
    assert not result.merged.complete
    fault = result.outcomes["x"].faults[0]
    assert (fault.element, fault.error.status) == ("2", 404)


def test_when_all_elements_fail_so_does_the_section() -> None:
    listed = plan(
        'x: {for_each: "{ids}", get: "a:/x/{item}"}\n'
        'y: {for_each: "{ids}", get: "a:/x/{item}", fallback: []}',
        parameters=IDS,
    )
    result = run(walked(listed, Upstreams(after(0, lambda r: refuse(r, 1, 2))), ids=[1, 2]))
    assert (result.state("x"), result.data("x"), len(result.codes("x"))) == ("failed", None, 2)
    assert (result.state("y"), result.data("y")) == ("fallback", [])


@pytest.mark.parametrize(("key", "empty"), [("", []), (", key: id", {})])
def test_an_empty_list_is_an_empty_result(key: str, empty: Any) -> None:
    listed = plan(f'x: {{for_each: {{in: "{{ids}}"{key}}}, get: "a:/x/{{item}}"}}', parameters=IDS)
    result = run(walked(listed, Upstreams(after(0)), ids=[]))
    assert (result.state("x"), result.data("x")) == ("ok", empty)


def test_elements_beyond_the_limit_are_told_and_not_fetched() -> None:
    listed = plan('x: {for_each: {in: "{ids}", limit: 2}, get: "a:/x/{item}"}', parameters=IDS)
    upstreams = Upstreams(after(0, number))
    result = run(walked(listed, upstreams, ids=[1, 2, 3, 4]))
    assert upstreams.targets == ["/x/1", "/x/2"]
    assert result.data("x") == [1, 2]
    assert result.codes("x") == ["limiter_full"]
    assert "2 elements beyond the limit of 2" in result.outcomes["x"].faults[0].error.detail
    assert not result.merged.complete


@pytest.mark.parametrize(("value", "why"), [(None, "has no value"), ({"a": 1}, "is no list")])
def test_what_is_no_list_fails_the_section(value: Any, why: str) -> None:
    listed = plan('l: {get: "a:/l"}\nx: {for_each: "{l.items}", get: "a:/x/{item}"}')
    result = run(walked(listed, Upstreams(after(0, {"items": value}))))
    assert result.codes("x") == ["dependency_failed"]
    assert why in result.outcomes["x"].faults[0].error.detail


def test_an_element_without_a_key_fails_alone() -> None:
    keyed = plan('l: {get: "a:/l"}\nx: {for_each: {in: "{l}", as: e, key: id}, get: "a:/x/{e.id}"}')
    items = [{"id": 1}, {"no": 2}, {"id": [3]}, {"id": 4.5}, {"id": "s"}]

    async def answer(request: Request) -> Any:
        return items if request.target == "/l" else request.target

    result = run(walked(keyed, Upstreams(answer)))
    assert result.data("x") == {"1": "/x/1", "4.5": "/x/4.5", "s": "/x/s"}
    assert [f.element for f in result.outcomes["x"].faults] == [1, 2]


def test_elements_flow_from_one_list_to_the_next_without_a_barrier() -> None:
    chained = plan(
        'p: {for_each: {in: "{ids}", key: "@"}, get: "a:/p/{item}", hidden: true}\n'
        'w: {for_each: {in: "{p}", as: place}, get: "b:/w/{place.at}"}\n'
        'v: {for_each: {in: "{w}", as: weather}, get: "b:/v/{weather.n}"}',
        parameters=IDS,
    )

    async def answer(request: Request) -> Any:
        n = number(request)
        if request.target.startswith("/p/"):
            await asyncio.sleep(5 if n == 2 else 0.1)
            if n == 3:
                raise UpstreamStatus("no", status=500, retryable=True)
            return {"at": n}
        await asyncio.sleep(0.1)
        return {"n": n}

    upstreams = Upstreams(answer)
    result = run(walked(chained, upstreams, ids=[1, 2, 3]))
    assert (0.1, "/w/1") in upstreams.calls
    assert (0.2, "/v/1") in upstreams.calls
    assert (5, "/w/2") in upstreams.calls
    assert result.data("v") == {"1": {"n": 1}, "2": {"n": 2}, "3": None}
    assert result.codes("w") == result.codes("v") == ["dependency_failed"]
    assert result.outcomes["w"].faults[0].element == "3"
    assert result.outcomes["w"].faults[0].error.retryable
    assert result.took == 5.2


def test_a_follower_of_a_section_that_never_opened_its_list_fails_or_is_skipped() -> None:
    chained = plan(
        'l: {get: "a:/l"}\n'
        'p: {for_each: "{l.items}", get: "a:/p/{item}", when: "l.on"}\n'
        'w: {for_each: "{p}", get: "b:/w/{item}"}'
    )
    failed = run(walked(chained, Upstreams(after(0, {"on": True}))))
    assert failed.codes("p") == failed.codes("w") == ["dependency_failed"]
    skipped = run(walked(chained, Upstreams(after(0, {"on": False}))))
    assert skipped.state("w") == "skipped"


def test_a_follower_takes_no_more_than_its_own_limit() -> None:
    chained = plan(
        'p: {for_each: "{ids}", get: "a:/p/{item}"}\n'
        'w: {for_each: {in: "{p}", limit: 2}, get: "b:/w/{item}"}',
        parameters=IDS,
    )
    result = run(walked(chained, Upstreams(after(0, number)), ids=[1, 2, 3]))
    assert result.data("w") == [1, 2]
    assert result.codes("w") == ["limiter_full"]


def batch_of(request: Request) -> list[int]:
    return [int(pair.partition("=")[2]) for pair in request.target.partition("?")[2].split("&")]


def test_a_batch_is_one_call_split_by_key() -> None:
    batched = plan(
        'posts: {get: "a:/posts"}\n'
        'authors: {for_each: {in: "{posts[*].by}", batch: 2, match: id}, '
        'get: "b:/users?id={item}", select: name}'
    )

    async def answer(request: Request) -> Any:
        if request.target == "/posts":
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


def test_freshness_is_that_of_the_least_fresh_element() -> None:
    listed = plan('x: {for_each: "{ids}", get: "a:/x/{item}"}', parameters=IDS)

    def answer(request: Request) -> Response:
        n = number(request)
        return Response(n, as_of=100.0 + n, fresh_until=200.0 - n, cache="hit" if n < 3 else "miss")

    outcome = run(walked(listed, Upstreams(after(0, answer)), ids=[1, 2, 3])).outcomes["x"]
    assert (outcome.as_of, outcome.fresh_until, outcome.cache) == (101.0, 197.0, "miss")
    stale = run(
        walked(listed, Upstreams(after(0, lambda _: Response(1, stale=True))), ids=[1, 2])
    ).outcomes["x"]
    assert (stale.state, stale.fresh_until) == ("stale", None)
