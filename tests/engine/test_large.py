"""Large answers come to the same as small ones, without a large value in this process."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import orjson
import pytest

from gateway.call import Request, Response
from gateway.engine.execution import Execution
from gateway.expressions.reference import Glimpse
from gateway.offload import FEW, MANY, SMALL, UNDECODED, Offload
from gateway.values.provenance import Provenance
from gateway.values.restrictions import Restriction
from tests.offload.lanes import Lanes
from tests.operations import target_of
from tests.planning import Result, Upstreams, plan, walked
from tests.virtual_time import run

SOME = [{"id": n, "name": f"n{n}", "next": n + 1, "tags": []} for n in range(FEW)]
MOST = [{"id": n, "name": f"n{n}", "next": n + 1} for n in range(MANY // 2)]
ANSWERS: dict[str, Any] = {"/some": SOME, "/most": MOST, "/one": {"n": 1, "list": [3, 4]},
                           "/object": {"a": {"b": 7}, "list": MOST}}  # fmt: skip


@functools.cache
def body_of(path: str) -> bytes:
    return orjson.dumps(ANSWERS[path])


def answering(*, undecoded: bool) -> Upstreams:
    async def answer(request: Request) -> Any:
        await asyncio.sleep(0.01)
        path = target_of(request).partition("?")[0]
        if path == "/echo":
            return {"at": target_of(request)}
        stale = path == "/stale"
        path = "/most" if stale else path
        body = body_of(path)
        hidden = undecoded and body.count(b",") > MANY
        return Response(
            UNDECODED if hidden else ANSWERS[path],
            body=body,
            provenance=Provenance(
                stale=stale,
                as_of=5.0 if stale else None,
                restrictions=Restriction.PRIVATE if path == "/most" else Restriction.NO_STORE,
            ),
        )

    return Upstreams(answer)


def both(sections: str, **options: Any) -> tuple[Result, Result, Lanes]:
    """Return what a plan comes to here, and what it comes to with large work done elsewhere."""
    made = plan(sections, **options)
    here = run(walked(made, answering(undecoded=False)))
    lanes = Lanes()
    there = run(walked(made, answering(undecoded=True), offload=lanes.offload))
    return here, there, lanes


@pytest.mark.parametrize("path", ["/some", "/most"])
@pytest.mark.parametrize(
    "sections",
    [
        'a: {get: "a:PATH"}',
        'a: {get: "a:PATH", select: "sort_by(@, &name)[:3]"}',
        'a: {get: "a:PATH", select: "[?id > `10`].{id: id}"}',
        'a: {get: "a:PATH", select: "length([0].id)"}',
        'a: {get: "a:PATH", select: "length([0].id)", fallback: 5}',
        'a: {get: "a:PATH", select: "length([0].id)", required: true}',
        'a: {get: "a:PATH", schema: {type: array, items: {required: [id]}}}',
        'a: {get: "a:PATH", schema: {type: object}}',
        'a: {get: "a:PATH", schema: {type: array}, select: "[0]"}',
        'a: {get: "a:PATH"}\nb: {get: "b:/echo?x={a[1].name}&y={a[0].next}&z={a[2].nope}"}',
        'a: {get: "a:PATH", select: "[0]"}\nb: {get: "b:/echo?x={a[1].name}"}',
        'a: {get: "a:PATH", hidden: true}\nb: {for_each: {in: "{a[*].id}", limit: 3}, get: "b:/echo?x={item}"}',
        'a: {get: "a:PATH"}\nb: {for_each: {in: "{a}", limit: 3, key: name}, get: "b:/echo?x={item.next}"}',
        'a: {get: "a:PATH"}\nb: {get: "b:/echo", when: "length(a) > `3`"}',
        'a: {get: "a:PATH"}\nb: {get: "b:/echo", when: "length(a) < `3`"}',
        'a: {get: "a:PATH"}\nb: {get: "b:/echo", when: "length(a[0].id)"}',
        'a: {get: "a:PATH"}\nb: {get: "b:/echo", when: "@.a[1].id == `1`"}',
        'a: {get: "a:PATH"}\no: {get: "a:/one"}\nb: {get: "b:/echo", when: "o.n == a[1].id"}',
        'a: {race: [{get: "a:PATH", select: "[:2]"}, "b:/nope"], select: "[0]"}',
        'a: {race: [{get: "a:PATH", select: "reverse(@)"}, {get: "a:PATH", select: "nope"}]}\n'
        'b: {get: "b:/echo?x={a[0].id}", when: "a[1].id > `0`"}',
        'a: {race: [{get: "a:/stale", select: "[:2]"}, "b:/echo"], select: "@"}\n'
        'b: {get: "a:PATH", select: "[0]"}',
        'a: {race: [{get: "a:/stale", select: "[:2]"}, {get: "a:PATH", select: "length([0].id)"}]}',
        'a: {race: [{get: "a:PATH", select: "[0].nope"}, {get: "a:PATH", select: "nope.x"}]}',
        'a: {for_each: {in: "{o.list}"}, get: "a:PATH?x={item}", select: "[0]"}\no: {get: "a:/one"}',
        'a: {for_each: {in: "{o.list}", key: "@"}, get: "a:PATH?x={item}"}\no: {get: "a:/one"}',
        'a: {for_each: {in: "{o.list}", batch: 9}, get: "a:PATH?id={item}", select: name}\no: {get: "a:/one"}',
    ],
)  # fmt: skip
def test_a_large_answer_comes_to_what_a_small_one_would(sections: str, path: str) -> None:
    here, there, lanes = both(sections.replace("PATH", path))
    assert there.merged.body == here.merged.body
    assert there.merged.errors == here.merged.errors
    for name, outcome in here.outcomes.items():
        assert there.outcomes[name].provenance.restrictions == outcome.provenance.restrictions
        assert [fault.error.excerpt for fault in there.outcomes[name].faults] == [
            fault.error.excerpt for fault in outcome.faults
        ]
    if path == "/most":
        assert lanes.quick.jobs == []


def test_of_a_list_that_is_fanned_out_over_no_more_comes_here_than_is_needed() -> None:
    _, there, _ = both(
        'a: {get: "a:/most", hidden: true}\n'
        'b: {for_each: {in: "{a[*].id}", limit: 3}, get: "b:/echo?x={item}"}'
    )
    glimpse = there.outcomes["a"].value
    assert isinstance(glimpse, Glimpse)
    assert list(glimpse.read("a[*].id")) == [0, 1, 2]
    assert f"{len(MOST) - 3} elements beyond the limit" in there.merged.errors[0]["detail"]


def test_a_reference_that_reads_too_much_fails_who_refers_and_nothing_else() -> None:
    _, there, _ = both('a: {get: "a:/object"}\nb: {get: "b:/echo?x={a.a.b}"}\n'
                       'c: {get: "b:/echo?x={a.list}"}')  # fmt: skip
    assert (there.state("a"), there.state("b")) == ("ok", "ok")
    (fault,) = there.outcomes["c"].faults
    assert fault.error.code == "dependency_failed"
    assert fault.error.detail == f"{{a.list}} reads more than {MANY} values of a large answer"


def test_an_element_that_others_refer_to_cannot_be_as_large_as_that() -> None:
    _, there, _ = both(
        'o: {get: "a:/one"}\na: {for_each: "{o.list}", get: "a:/most?x={item}"}\n'
        'b: {for_each: "{a}", get: "b:/echo?x={item[0].id}"}'
    )
    assert there.codes("a") == ["upstream_payload"] * 2
    assert "so other sections cannot refer to it" in there.outcomes["a"].faults[0].error.detail


@pytest.mark.parametrize(
    ("elements", "quick"), [(SMALL // 200, []), (FEW * 2, ["shape"])], ids=["small", "large"]
)
def test_only_what_is_large_goes_elsewhere(elements: int, quick: list[str]) -> None:
    value = [{"id": n, "text": "x" * 20} for n in range(elements)]

    async def answer(request: Request) -> Any:
        return value

    lanes = Lanes()
    made = plan('a: {get: "a:/", select: "[].id"}')
    assert len(run(walked(made, Upstreams(answer), offload=lanes.offload)).data("a")) == elements
    assert (lanes.quick.jobs, lanes.slow.jobs) == (quick, [])


@pytest.mark.parametrize(
    ("path", "quick", "slow"),
    [("/one", [], []), ("/some", ["judge"], []), ("/most", [], ["judge"])],
)
def test_a_condition_is_judged_elsewhere_only_where_it_looks_into_a_large_value(
    path: str, quick: list[str], slow: list[str]
) -> None:
    _, there, lanes = both(
        f'o: {{get: "a:/one"}}\na: {{get: "a:{path}"}}\n'
        'b: {get: "b:/echo", when: "length(a) > `1`"}\nc: {get: "b:/echo", when: "o.n == `1`"}'
    )
    assert (there.state("b"), there.state("c")) == ("ok", "ok")
    assert (lanes.quick.jobs, lanes.slow.jobs) == (quick, slow)


def test_a_condition_over_small_values_takes_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    spawned: list[str] = []
    spawn = Execution.spawn

    def noted(self: Execution, section: Any, run: Any) -> Any:
        spawned.append(section.name)
        return spawn(self, section, run)

    monkeypatch.setattr(Execution, "spawn", noted)
    _, there, _ = both('o: {get: "a:/one"}\nb: {get: "b:/echo", when: "o.n == `2`"}')
    assert there.state("b") == "skipped"
    assert spawned == []
    _, there, _ = both('o: {get: "a:/most"}\nb: {get: "b:/echo", when: "length(o) == `2`"}')
    assert there.state("b") == "skipped"
    assert spawned == ["o", "b"]


def test_a_condition_over_what_json_cannot_hold_fails_beside_a_large_value() -> None:
    _, there, _ = both(
        'a: {get: "a:/most"}\n'
        'o: {race: [{get: "a:/one", select: "{n: to_number(\'9999999999999999999999\')}"},'
        ' {get: "a:/one", select: "nope"}], hidden: true}\n'
        'b: {get: "b:/echo", when: "a[0].id == o.n"}'
    )
    (fault,) = there.outcomes["b"].faults
    assert fault.error.code == "expression_failed"
    assert fault.error.detail.startswith(
        "`when` failed: a value cannot be written as JSON: Integer"
    )


def test_what_is_long_but_has_few_values_is_shaped_here() -> None:
    async def answer(request: Request) -> Any:
        return [{"text": "x" * (2 * SMALL)}]

    lanes = Lanes()
    made = plan('a: {get: "a:/", select: "length([0].text)"}')
    assert run(walked(made, Upstreams(answer), offload=lanes.offload)).data("a") == 2 * SMALL
    assert lanes.quick.jobs == []


@pytest.mark.parametrize(
    "sections",
    ['a: {get: "a:/most", select: "sort_by(@, &id)"}', 'a: {get: "a:/most", schema: {type: array}}',
     'a: {race: [{get: "a:/most", select: "[0]"}, {get: "a:/some", select: "[0]"}]}',
     'o: {get: "a:/most"}\na: {get: "b:/echo", when: "length(o) > `1`"}'],
)  # fmt: skip
def test_shaping_ends_with_the_deadline_and_is_abandoned(sections: str) -> None:
    lanes = Lanes(takes=600)
    made = plan(sections, deadline="1s")
    result = run(walked(made, answering(undecoded=True), offload=lanes.offload))
    assert result.codes("a") == ["deadline_exceeded"]
    assert 1 <= result.took < 1.2
    assert result.left == 0
    assert lanes.slow.abandoned + lanes.quick.abandoned == len(lanes.slow.jobs + lanes.quick.jobs)
    assert (lanes.slow.running, lanes.offload.budget.used) == (0, 0)


def test_a_large_list_is_written_bit_by_bit() -> None:
    """Its elements are small each, and the merge would write all of them in one go."""
    value = [{"n": n, "text": "x" * 100} for n in range(300)]
    turns = 0

    async def answer(request: Request) -> Any:
        return {"list": list(range(60))} if target_of(request) == "/one" else value

    async def main() -> Result:
        nonlocal turns

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        made = plan('o: {get: "a:/one"}\n'
                    'a: {for_each: "{o.list}", get: "a:/x/{item}", select: "[:]"}')  # fmt: skip
        running = asyncio.create_task(others())
        result = await walked(made, Upstreams(answer), offload=Lanes().offload)
        running.cancel()
        return result

    result = run(main())
    assert result.outcomes["a"].written.startswith(b'[[{"n":0')
    assert result.data("a") == [value] * 60
    assert turns > 5


async def test_a_real_worker_shapes_a_large_answer() -> None:
    offload = Offload()
    try:
        result = await walked(
            plan('a: {get: "a:/most", select: "[-1].name"}\nb: {get: "b:/echo?x={a[3].id}"}'),
            answering(undecoded=True),
            offload=offload,
        )
    finally:
        await offload.aclose()
    assert result.data("a") == f"n{len(MOST) - 1}"
    assert result.data("b") == {"at": "/echo?x=3"}
    assert (offload.slow.done, offload.slow.abandoned) == (1, 0)
