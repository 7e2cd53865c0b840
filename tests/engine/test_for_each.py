from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.call import Request, Response
from gateway.errors import UpstreamStatus
from gateway.expressions.reference import ABSENT
from gateway.values.provenance import Provenance
from gateway.values.restrictions import Restriction
from tests.operations import target_of
from tests.planning import Upstreams, after, plan, walked
from tests.virtual_time import loop_time, run

IDS = "{ids: {type: array, items: {type: integer}, required: false}}"


def number(request: Request) -> int:
    return int(target_of(request).rpartition("/")[2])


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
    assert result.codes("x") == ["list_truncated"]
    assert "2 elements beyond the limit of 2" in result.outcomes["x"].faults[0].error.detail
    assert not result.merged.complete


@pytest.mark.parametrize(("value", "why"), [(None, "has no value"), ({"a": 1}, "is not a list")])
def test_what_is_no_list_fails_the_section(value: Any, why: str) -> None:
    listed = plan('l: {get: "a:/l"}\nx: {for_each: "{l.items}", get: "a:/x/{item}"}')
    result = run(walked(listed, Upstreams(after(0, {"items": value}))))
    assert result.codes("x") == ["dependency_failed"]
    assert why in result.outcomes["x"].faults[0].error.detail


def test_an_element_without_a_key_fails_alone() -> None:
    keyed = plan('l: {get: "a:/l"}\nx: {for_each: {in: "{l}", as: e, key: id}, get: "a:/x/{e.id}"}')
    items = [{"id": 1}, {"no": 2}, {"id": [3]}, {"id": 4.5}, {"id": "s"}]

    async def answer(request: Request) -> Any:
        return items if target_of(request) == "/l" else target_of(request)

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
        if target_of(request).startswith("/p/"):
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
    assert result.codes("w") == ["list_truncated"]


def test_freshness_is_that_of_the_least_fresh_element() -> None:
    listed = plan('x: {for_each: "{ids}", get: "a:/x/{item}"}', parameters=IDS)

    def answer(request: Request) -> Response:
        n = number(request)
        return Response(
            n,
            provenance=Provenance(
                as_of=100.0 + n, fresh_until=200.0 - n, cache="hit" if n < 3 else "miss"
            ),
        )

    outcome = run(walked(listed, Upstreams(after(0, answer)), ids=[1, 2, 3])).outcomes["x"]
    assert (outcome.provenance.as_of, outcome.provenance.fresh_until, outcome.provenance.cache) == (
        101.0,
        197.0,
        "miss",
    )
    stale = run(
        walked(
            listed,
            Upstreams(after(0, lambda _: Response(1, provenance=Provenance(stale=True)))),
            ids=[1, 2],
        )
    ).outcomes["x"]
    assert (stale.state, stale.provenance.fresh_until) == ("stale", None)


def test_what_any_element_forbids_holds_for_the_list() -> None:
    listed = plan('x: {for_each: "{ids}", get: "a:/x/{item}"}', parameters=IDS)
    forbidden = {1: Restriction(0), 2: Restriction.PRIVATE, 3: Restriction.NO_STORE}
    upstreams = Upstreams(
        after(0, lambda r: Response(1, provenance=Provenance(restrictions=forbidden[number(r)])))
    )
    one = run(walked(listed, upstreams, ids=[1, 2])).outcomes["x"]
    assert one.provenance.restrictions == Restriction.PRIVATE
    both = run(walked(listed, upstreams, ids=[1, 2, 3])).outcomes["x"]
    assert both.provenance.restrictions == Restriction.PRIVATE | Restriction.NO_STORE


def listed(sections: str, items: Any, **elements: Any) -> Any:
    """Run sections over `{l}`, which is `items`; an element answers with its target."""

    async def answer(request: Request) -> Any:
        return items if target_of(request) == "/l" else elements.get("each", target_of(request))

    return run(walked(plan('l: {get: "a:/l"}\n' + sections), Upstreams(answer)))


def test_a_key_that_does_not_fit_fails_its_element_alone() -> None:
    result = listed(
        """x: {for_each: {in: "{l}", key: "join('-', k)"}, get: "a:/{item.id}"}""",
        [{"id": 1, "k": ["a", "b"]}, {"id": 2}, {"id": 3, "k": True}],
    )
    assert result.data("x") == {"a-b": "/1"}
    assert [fault.element for fault in result.outcomes["x"].faults] == [1, 2]


def test_of_two_elements_of_one_key_the_second_is_told_and_not_lost() -> None:
    result = listed(
        'x: {for_each: {in: "{l}", key: k}, get: "a:/{item.id}"}',
        [{"id": 1, "k": "a"}, {"id": 2, "k": "a"}, {"id": 1, "k": "a"}],
    )
    assert result.data("x") == {"a": "/1"}
    assert [fault.element for fault in result.outcomes["x"].faults] == [1]
    assert not result.merged.complete


def test_an_element_that_cannot_be_asked_for_fails_alone() -> None:
    result = listed('x: {for_each: "{l}", get: "a:/{item}"}', [1, None, {"a": 1}, ""])
    assert result.data("x") == ["/1", None, None, None]
    assert result.codes("x") == ["dependency_failed"] * 3


def test_an_optional_list_that_was_left_out_is_empty() -> None:
    none = plan('x: {for_each: "{ids}", get: "a:/x/{item}"}', parameters=IDS)
    assert run(walked(none, Upstreams(after(0)), ids=ABSENT)).data("x") == []


def test_all_that_follow_a_list_cut_short_tell_so() -> None:
    result = listed(
        'p: {for_each: {in: "{l}", limit: 3}, get: "a:/p{item}"}\n'
        'w: {for_each: "{p}", get: "a:/w{item}"}\n'
        'v: {for_each: {in: "{w}", limit: 2}, get: "a:/v{item}"}',
        [1, 2, 3, 4, 5],
    )
    told = [result.outcomes[name].faults[-1].error.detail for name in ("p", "w", "v")]
    assert told == [
        "2 elements beyond the limit of 3 were not fetched",
        "2 elements beyond the limit of 3 were not fetched",
        "3 elements beyond the limit of 2 were not fetched",
    ]


@pytest.mark.parametrize(
    ("fallback", "data"),
    [("[7, 8]", ["/w7", "/w8"]), ("{a: 7}", {"a": "/w7"}), ("[]", []), ("5", None)],
)
@pytest.mark.parametrize("items", [None, [1, 2]])  # it never opens its list; its elements fail
def test_a_list_that_follows_takes_the_fallback_for_the_list(
    fallback: str, data: Any, items: Any
) -> None:
    chained = plan(
        f'l: {{get: "a:/l"}}\np: {{for_each: "{{l.x}}", get: "a:/p{{item}}", fallback: {fallback}}}\n'
        'w: {for_each: "{p}", get: "a:/w{item}"}'
    )

    async def answer(request: Request) -> Any:
        if target_of(request).startswith("/p"):
            raise UpstreamStatus("no")
        return {"x": items} if target_of(request) == "/l" else target_of(request)

    result = run(walked(chained, Upstreams(answer)))
    assert result.state("p") == "fallback"
    assert result.data("w") == data
    assert result.codes("w") == ([] if data is not None else ["dependency_failed"])


def test_who_needs_the_whole_list_too_waits_for_it_and_keeps_its_keys() -> None:
    chained = plan(
        'p: {for_each: {in: "{ids}", key: "@"}, get: "a:/p/{item}"}\n'
        'w: {for_each: {in: "{p}", as: n}, get: "b:/w/{n}", when: p}\n'
        'k: {for_each: {in: "{p}", key: "@"}, get: "b:/k/{item}"}',
        parameters=IDS,
    )

    async def answer(request: Request) -> Any:
        await asyncio.sleep(number(request) / 10)
        return number(request) + (1 if target_of(request).startswith("/p") else 0)

    upstreams = Upstreams(answer)
    result = run(walked(chained, upstreams, ids=[1, 2]))
    assert upstreams.calls[2:] == [(0.2, "/w/2"), (0.2, "/w/3"), (0.2, "/k/2"), (0.2, "/k/3")]
    assert result.data("w") == {"1": 2, "2": 3}  # by the keys of the list that it follows
    assert result.data("k") == {"2": 2, "3": 3}  # by its own
    nobody = run(walked(chained, Upstreams(answer), ids=[]))
    assert nobody.state("w") == "skipped"


def test_those_that_wait_for_a_call_hear_of_its_end_however_it_ends() -> None:
    same = plan('x: {for_each: "{ids}", get: "a:/x?same=1"}', parameters=IDS)

    async def answer(request: Request) -> Any:
        await asyncio.sleep(0.1)
        raise asyncio.CancelledError

    async def main() -> float:
        began = loop_time()
        with pytest.raises(RuntimeError, match="section x was cancelled"):
            await walked(same, Upstreams(answer), ids=[1, 2])
        return round(loop_time() - began, 6)

    assert run(main()) == 0.1
