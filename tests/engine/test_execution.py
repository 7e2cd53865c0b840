from __future__ import annotations

import asyncio
import copy
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call import Deadline, Request, Response
from gateway.engine.context import Inputs
from gateway.engine.execution import BoundPlan, Execution
from gateway.engine.outcome import Outcome, State
from gateway.errors import LimiterFull, UpstreamStatus, UpstreamTimeout
from gateway.events import Events, SectionFailed
from gateway.expressions.reference import ABSENT
from gateway.layers.passage import Gate, Passage
from gateway.upstreams.kind import Sent
from gateway.values.provenance import Provenance
from tests.layers.fakes import context
from tests.operations import http, target_of
from tests.planning import Upstreams, after, plan, walked
from tests.virtual_time import loop_time, run

DASHBOARD = plan(
    """
profile: {get: "a:/users/{id}", required: true}
posts: {get: "b:/posts?userId={id}", select: "[].t"}
weather: {get: "b:/weather?lat={profile.geo.lat}"}
""",
    path="/d/{id}",
    parameters="{id: {type: integer}}",
)


def user(request: Request) -> Any:
    return {
        "/users/1": {"id": 1, "geo": {"lat": "-1.5"}},
        "/posts?userId=1": [{"t": "x"}, {"t": "y"}],
        "/weather?lat=-1.5": {"c": 3},
    }[target_of(request)]


def test_a_section_starts_the_moment_its_own_inputs_are_there() -> None:
    upstreams = Upstreams(after(0.2, user))
    result = run(walked(DASHBOARD, upstreams, id=1))
    assert upstreams.calls == [(0, "/users/1"), (0, "/posts?userId=1"), (0.2, "/weather?lat=-1.5")]
    assert result.took == 0.4
    assert result.data("posts") == ["x", "y"]
    assert result.outcomes["posts"].value == [{"t": "x"}, {"t": "y"}]
    assert result.outcomes["weather"].elapsed == pytest.approx(0.2)
    assert result.merged.complete
    assert result.left == 0


@pytest.mark.parametrize(
    "section",
    [
        'x: {get: "a:/", schema: {type: array}}',
        'x: {get: "a:/", select: "abs(error)"}',
        'x: {get: "a:/", schema: {type: array}, fallback: 0}',
    ],
)
def test_a_payload_that_a_section_refuses_is_quoted_on_its_error(section: str) -> None:
    result = run(walked(plan(section), Upstreams(after(0, {"error": "quota"}))))
    (fault,) = result.outcomes["x"].faults
    assert fault.error.excerpt == '{"error":"quota"}'


FAILING = """
fine: {get: "a:/fine"}
down: {get: "a:/down"}
instead: {get: "a:/down", fallback: 0}
depends: {get: "a:/x?y={down}"}
old: {get: "a:/old"}
each: {for_each: {in: "{fine}", as: n}, get: "b:/each/{n}"}
raced: {race: ["a:/down", "b:/gone"]}
late: {get: "b:/late"}
"""


def test_every_failure_of_a_section_is_an_event_and_nothing_else_is() -> None:
    async def answer(request: Request) -> Any:
        if target_of(request) == "/late":
            await asyncio.sleep(60)
        if target_of(request) == "/old":
            return Response(
                1, provenance=Provenance(stale=True, reason=UpstreamTimeout("late", upstream="a"))
            )
        status = {"/down": 503, "/each/2": 500, "/each/3": 500, "/gone": 404}.get(
            target_of(request)
        )
        if status is not None:
            upstream = "a" if target_of(request) == "/down" else "b"
            said = f"{target_of(request)} said"
            raise UpstreamStatus("no", upstream=upstream, status=status, excerpt=said)
        return [1, 2, 3] if target_of(request) == "/fine" else 1

    heard: list[SectionFailed] = []
    events = Events()
    events.listen(heard.append, SectionFailed)
    run(walked(plan(FAILING), Upstreams(answer), events=events))
    told = {(e.section, e.upstream, e.code, e.status, e.state, e.count, e.excerpt) for e in heard}
    assert told == {
        ("down", "a", "upstream_status", 503, "failed", 1, "/down said"),
        ("instead", "a", "upstream_status", 503, "fallback", 1, "/down said"),
        ("depends", "", "dependency_failed", None, "failed", 1, ""),
        ("old", "a", "upstream_timeout", None, "stale", 1, ""),
        ("each", "b", "upstream_status", 500, "ok", 2, "/each/2 said"),
        ("raced", "a", "upstream_status", 503, "failed", 1, "/down said"),
        ("raced", "b", "upstream_status", 404, "failed", 1, "/gone said"),
        ("late", "b", "deadline_exceeded", None, "failed", 1, ""),
    }
    assert len(heard) == len(told)
    assert {event.dashboard for event in heard} == {"d"}


def test_there_are_no_waves() -> None:
    """b waits for a only, so it starts while the slow c of the same wave is still under way."""
    chain = plan('a: {get: "a:/a"}\nb: {get: "a:/b?x={a}"}\nc: {get: "a:/c"}')

    async def answer(request: Request) -> Any:
        await asyncio.sleep(1 if target_of(request) == "/c" else 0.1)
        return 1

    upstreams = Upstreams(answer)
    assert run(walked(chain, upstreams)).took == 1
    assert (0.1, "/b?x=1") in upstreams.calls


def test_ten_independent_sections_take_as_long_as_one() -> None:
    ten = plan("\n".join(f's{n}: {{get: "a:/{n}"}}' for n in range(10)))
    assert run(walked(ten, Upstreams(after(0.1, 1)))).took == 0.1


def test_a_failed_section_kills_no_sibling_and_fails_its_dependents() -> None:
    upstreams = Upstreams(after(0.1, lambda r: user(r) if "weather" not in target_of(r) else None))

    async def answer(request: Request) -> Any:
        if target_of(request) == "/users/1":
            raise UpstreamTimeout("late", upstream="a")
        return await after(0.1, user)(request)

    optional = plan(
        'profile: {get: "a:/users/1"}\nposts: {get: "b:/posts?userId=1"}\n'
        'weather: {get: "b:/weather?lat={profile.geo.lat}"}\nlater: {get: "b:/x?w={weather.c}"}'
    )
    upstreams = Upstreams(answer)
    result = run(walked(optional, upstreams))
    assert result.state("posts") == "ok"
    assert result.codes("profile") == ["upstream_timeout"]
    assert result.codes("weather") == result.codes("later") == ["dependency_failed"]
    assert result.outcomes["weather"].faults[0].error.retryable
    assert upstreams.targets == ["/users/1", "/posts?userId=1"]
    assert not result.merged.complete


def test_a_failed_required_section_ends_the_rest_at_once() -> None:
    async def answer(request: Request) -> Any:
        if target_of(request) == "/users/1":
            await asyncio.sleep(0.1)
            raise UpstreamStatus("no", upstream="a", status=404)
        await asyncio.sleep(5)

    upstreams = Upstreams(answer)
    result = run(walked(DASHBOARD, upstreams, id=1))
    assert result.took == 0.1
    assert upstreams.cancelled == ["/posts?userId=1"]
    assert result.left == 0
    assert result.merged.required is not None
    assert result.merged.required.error.status == 404
    assert result.raw[1] is None


def test_at_the_deadline_what_has_not_landed_has_failed() -> None:
    both = plan('fast: {get: "a:/f"}\nslow: {get: "a:/s"}\nlast: {get: "a:/l?x={slow}"}\n'
                'plain: {get: "a:/s2", fallback: {x: 1}}', deadline="1s")  # fmt: skip

    async def answer(request: Request) -> Any:
        await asyncio.sleep(0.1 if target_of(request) == "/f" else 60)
        return 1

    upstreams = Upstreams(answer)
    result = run(walked(both, upstreams))
    assert result.took == pytest.approx(1.05, abs=0.005)  # a tick of its timer
    assert result.state("fast") == "ok"
    assert result.codes("slow") == result.codes("last") == ["deadline_exceeded"]
    assert (result.state("plain"), result.data("plain")) == ("fallback", {"x": 1})
    assert sorted(upstreams.cancelled) == ["/s", "/s2"]
    assert result.left == 0


def test_the_backstop_leaves_little_grace() -> None:
    slow = plan('s: {get: "a:/s"}', deadline="60s")
    assert run(walked(slow, Upstreams(after(1e6)))).took == pytest.approx(60.1, abs=0.005)


def test_cancellation_ends_every_call_and_leaves_no_task() -> None:
    async def main() -> tuple[list[str], int]:
        upstreams = Upstreams(after(60, 1))
        walk = asyncio.create_task(walked(DASHBOARD, upstreams, id=1))
        await asyncio.sleep(0.1)
        walk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await walk
        return sorted(upstreams.cancelled), len(asyncio.all_tasks())

    assert run(main()) == (["/posts?userId=1", "/users/1"], 1)


@pytest.mark.parametrize(
    "sections",
    [
        'x: {get: "a:/x"}\ny: {get: "a:/slow"}',
        'x: {race: ["a:/x", "b:/slow"]}',
        'x: {for_each: "{ids}", get: "a:/x/{item}"}',
        'x: {for_each: "{ids}", get: "a:/x?same=1"}',
        'x: {for_each: {in: "{ids}", batch: 2}, get: "a:/x?id={item}"}',
    ],
)
def test_a_bug_propagates_and_ends_everything(sections: str) -> None:
    buggy = plan(sections, parameters="{ids: {type: array, items: {type: integer}}}")

    async def answer(request: Request) -> Any:
        await asyncio.sleep(0.1)
        if target_of(request) == "/slow":
            await asyncio.sleep(60)
        raise ZeroDivisionError

    async def main() -> tuple[float, int]:
        began = loop_time()
        with pytest.raises(ZeroDivisionError):
            await walked(buggy, Upstreams(answer), ids=[1, 2, 3])
        return round(loop_time() - began, 6), len(asyncio.all_tasks())

    assert run(main()) == (0.1, 1)


def test_when_skips_and_what_waits_for_a_skipped_section_is_skipped() -> None:
    maybe = plan(
        'me: {get: "a:/me"}\nadmin: {get: "a:/admin", when: "me.admin && q"}\n'
        'more: {get: "a:/more?x={admin}"}\neach: {for_each: "{admin}", get: "a:/each/{item}"}',
        parameters="{q: {type: string, required: false}}",
    )

    def states(me: Any, q: Any) -> list[str]:
        upstreams = Upstreams(after(0.1, lambda r: me if target_of(r) == "/me" else [7]))
        result = run(walked(maybe, upstreams, q=q))
        assert result.merged.complete
        return [result.state(name) for name in ("admin", "more", "each")]

    assert states({"admin": True}, "x") == ["ok", "ok", "ok"]
    assert states({"admin": False}, "x") == ["skipped", "skipped", "skipped"]
    assert states({"admin": True}, ABSENT) == ["skipped", "skipped", "skipped"]


def test_a_fallback_stands_in_and_can_be_referred_to() -> None:
    stand_in = plan('a: {get: "a:/a", fallback: {id: 5}}\nb: {get: "a:/b/{a.id}"}\n'
                    'n: {get: "a:/a", fallback: null}')  # fmt: skip
    upstreams = Upstreams(
        after(
            0, lambda r: 1 if target_of(r) == "/b/5" else (_ for _ in ()).throw(UpstreamStatus("x"))
        )
    )
    result = run(walked(stand_in, upstreams))
    assert (result.state("a"), result.data("a"), result.codes("a")) == (
        "fallback", {"id": 5}, ["upstream_status"],
    )  # fmt: skip
    assert result.data("b") == 1
    assert (result.state("n"), result.data("n")) == ("fallback", None)
    assert not result.merged.complete


def test_an_expression_that_does_not_fit_is_named_with_the_reason() -> None:
    strange = plan(
        's: {get: "a:/s", hidden: true}\nt: {get: "a:/s", select: "length(@)"}\n'
        'w: {get: "a:/s", when: "length(s) > `0`"}\nf: {get: "a:/s", when: "abs(s.x)", fallback: 1}'
    )
    result = run(walked(strange, Upstreams(after(0, 5))))
    takes = "length() takes string or array or object, not number"
    for name, key, upstream in (("t", "select", "a"), ("w", "when", None)):
        (fault,) = result.outcomes[name].faults
        assert (result.state(name), fault.error.code) == ("failed", "expression_failed")
        assert fault.error.detail == f"`{key}` failed: {takes}"
        assert fault.error.upstream == upstream
        assert not fault.error.retryable
    assert (result.state("f"), result.codes("f")) == ("fallback", ["expression_failed"])


@pytest.mark.parametrize(
    "section",
    [
        'get: "a:/s"',
        'race: ["a:/s", {get: "a:/s", select: "@"}]',
        'for_each: "{items}", get: "a:/s"',
    ],
)
def test_what_does_not_meet_the_sections_schema_fails_it(section: str) -> None:
    checked = plan(
        f"s: {{{section}, select: id, schema: {{properties: {{id: {{type: integer}}}}}}}}",
        parameters="{items: {type: array, items: {type: integer}, default: [1]}}",
    )
    good = run(walked(checked, Upstreams(after(0, {"id": 7})), items=[1]))
    assert good.state("s") == "ok"
    bad = run(walked(checked, Upstreams(after(0, {"id": "7"})), items=[1]))
    assert set(bad.codes("s")) == {"upstream_payload"}
    assert bad.state("s") == "failed"
    fault = bad.outcomes["s"].faults[0].error
    assert (fault.upstream, "schema at /id" in fault.detail) == ("a", True)


def test_a_reference_without_a_value_fails_its_section_only() -> None:
    result = run(walked(DASHBOARD, Upstreams(after(0, {"id": 1})), id=1))
    assert result.codes("weather") == ["dependency_failed"]
    assert result.state("profile") == "ok"


def test_what_the_call_tells_of_freshness_is_in_the_outcome() -> None:
    one = plan('s: {get: "a:/s"}')
    reason = UpstreamTimeout("late")
    stale = Response(
        1,
        provenance=Provenance(as_of=5.0, fresh_until=9.0, stale=True, reason=reason, cache="stale"),
    )
    outcome = run(walked(one, Upstreams(after(0, lambda _: stale)))).outcomes["s"]
    assert (outcome.state, outcome.provenance.as_of, outcome.provenance.fresh_until) == (
        "stale",
        5.0,
        9.0,
    )
    assert (outcome.provenance.reason, outcome.provenance.cache) == (reason, "stale")


def test_requests_carry_deadline_section_headers_tags_and_policy() -> None:
    one = plan('s: {get: "a:/s", cache: {ttl: 5s}}')
    seen: list[Request] = []

    async def call(request: Request) -> Response:
        seen.append(request)
        return Response(1)

    deadline = Deadline(1e9)
    bound = BoundPlan(one, {"a": call}, clock=lambda: 1e9 - 10)
    sent = {"a": Sent([(b"x", b"y")], [(b"traceparent", b"t")]), "b": Sent((), [(b"z", b"z")])}
    asyncio.run(bound.execute(Inputs({}, sent), deadline))
    request = seen[0]
    assert http(request).propagated == [(b"traceparent", b"t")]
    assert (request.section, request.deadline, http(request).headers) == (
        "s",
        deadline,
        [(b"x", b"y")],
    )
    assert request.tags[:2] == ("dashboard:d", "section:d.s")
    assert request.cache is one.sections[0].cache is not None


@pytest.mark.no_cover
@given(st.data())
def test_random_graphs_run_each_section_after_its_needs(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    needs = {
        n: data.draw(st.sets(st.integers(0, n - 1), max_size=3)) if n else set()
        for n in range(count)
    }
    order = data.draw(st.permutations(range(count)))
    lines = [
        f's{n}: {{get: "a:/{n}?' + "&".join(f"p{m}={{s{m}}}" for m in sorted(needs[n])) + '"}'
        for n in order
    ]
    delays = {n: data.draw(st.sampled_from([0.0, 0.1, 0.3])) for n in range(count)}
    ended: list[int] = []

    async def answer(request: Request) -> int:
        number = int(target_of(request)[1:].partition("?")[0])
        assert needs[number] <= set(ended)
        await asyncio.sleep(delays[number])
        ended.append(number)
        return number

    def longest(n: int) -> float:
        return delays[n] + max((longest(m) for m in needs[n]), default=0.0)

    result = run(walked(plan("\n".join(lines)), Upstreams(answer)))
    assert result.merged.complete
    assert sorted(ended) == list(range(count))
    assert result.took == pytest.approx(max(longest(n) for n in range(count)))


KINDS = [
    'x: {get: "a:/x"}\ny: {get: "a:/y"}',
    'x: {race: ["a:/x", "b:/y"]}',
    'x: {for_each: "{ids}", get: "a:/x/{item}"}',
    'x: {for_each: {in: "{ids}", batch: 1}, get: "a:/x?id={item}"}',
]


@pytest.mark.parametrize("sections", KINDS)
def test_a_second_cancellation_leaves_no_task_either(sections: str) -> None:
    slow = plan(sections, parameters="{ids: {type: array}}")
    closed: list[str] = []

    async def answer(request: Request) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)  # closing takes a while
            closed.append(target_of(request))

    async def main() -> int:
        walk = asyncio.create_task(walked(slow, Upstreams(answer), ids=["1", "2"]))
        for _ in range(3):
            await asyncio.sleep(0.1)
            walk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await walk
        return len(asyncio.all_tasks())

    assert run(main()) == 1
    assert len(closed) == 2


@pytest.mark.parametrize("sections", KINDS)
def test_a_cancellation_out_of_nowhere_is_a_bug_and_no_wait_for_the_deadline(sections: str) -> None:
    broken = plan(sections, parameters="{ids: {type: array}}")

    async def answer(request: Request) -> Any:
        await asyncio.sleep(0.1)
        raise asyncio.CancelledError

    async def main() -> tuple[float, int]:
        began = loop_time()
        with pytest.raises(RuntimeError, match="section x was cancelled, but not by its execution"):
            await walked(broken, Upstreams(answer), ids=["1", "2"])
        return round(loop_time() - began, 6), len(asyncio.all_tasks())

    assert run(main()) == (0.1, 1)


def test_what_comes_after_the_end_of_the_walk_changes_nothing() -> None:
    """Neither an answer nor a bug: the outcomes have been read by then."""
    late = plan('a: {get: "a:/a", required: true}\nb: {get: "a:/b"}\nc: {get: "a:/c"}')

    async def answer(request: Request) -> Any:
        if target_of(request) == "/a":
            raise UpstreamStatus("no")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if target_of(request) == "/b":
                return 1
            raise ZeroDivisionError from None

    result = run(walked(late, Upstreams(answer)))
    assert result.raw[1:] == [None, None]
    assert result.left == 0


def test_a_deadline_that_strikes_after_the_end_changes_nothing() -> None:
    one = plan('a: {get: "a:/a"}\nb: {get: "a:/b"}')

    async def main() -> list[Outcome | None]:
        bound = BoundPlan(one, {"a": Upstreams(after(0))}, clock=loop_time)
        ended: list[Execution] = []
        execution = bound.start(Inputs({}), Deadline(loop_time()), ended.append)
        execution.outcomes[0] = Outcome(State.OK, 1, 1)
        execution.ring()  # ends the calls
        execution.ring()
        landed = list(execution.outcomes)
        execution.outcomes[1] = None
        execution.ring()
        assert execution.outcomes == [landed[0], None]
        await asyncio.sleep(0.1)
        assert ended == [execution]
        return landed

    first, second = run(main())
    assert first is not None
    assert second is not None
    assert (first.state, second.state) == ("ok", "failed")


def test_a_required_section_that_the_deadline_strikes_is_told() -> None:
    late = plan('a: {get: "a:/a", required: true}\nb: {get: "a:/b"}', deadline="1s")
    answer = {"/a": after(60, 1), "/b": after(0, 2)}
    result = run(walked(late, Upstreams(lambda r: answer[target_of(r)](r))))
    assert result.merged.required is not None
    assert result.merged.required.error.code == "deadline_exceeded"
    assert result.merged.required.error.upstream == "a"
    assert result.data("b") == 2


def test_a_deadline_that_is_over_already_ends_at_once() -> None:
    one = plan('a: {get: "a:/a"}')

    async def main() -> tuple[float, Outcome | None]:
        began = loop_time()
        bound = BoundPlan(one, {"a": Upstreams(after(60))}, clock=loop_time)
        outcomes = await bound.execute(Inputs({}), Deadline(began - 5))
        return loop_time() - began, outcomes[0]

    took, outcome = run(main())
    assert took == 0
    assert outcome is not None
    assert outcome.state == "failed"


def test_values_that_sections_share_are_never_changed() -> None:
    shared = {"ids": [3, 1, 2], "o": {"b": [1], "a": {"k": "v"}}, "n": [{"id": 2}, {"id": 1}]}
    before = copy.deepcopy(shared)
    many = plan(
        'l: {get: "a:/l", select: "sort(ids)"}\nm: {get: "a:/l", select: "merge(o, {b: ids})"}\n'
        'r: {get: "a:/l", select: "reverse(n)"}\ns: {get: "a:/l", select: "sort_by(n, &id)"}\n'
        'e: {for_each: {in: "{l.n}", key: id}, get: "a:/l", select: "n[?id == `1`]", when: "l.o"}\n'
        'b: {for_each: {in: "{l.ids}", batch: 2, many: true}, get: "b:/n?id={item}", select: "[]"}'
    )
    upstreams = Upstreams(after(0, lambda r: shared["n"] if target_of(r)[1] == "n" else shared))
    result = run(walked(many, upstreams))
    assert result.merged.complete
    assert shared == before


def test_a_walk_that_fans_out_widely_neither_recurses_nor_leaks() -> None:
    chain = plan(
        's0: {get: "a:/0"}\n'
        + "\n".join(f's{n}: {{get: "a:/{n}?x={{s{n - 1}}}"}}' for n in range(1, 100))
    )
    assert run(walked(chain, Upstreams(after(0.01, 1)))).took == pytest.approx(1)
    wide = plan(
        'x: {for_each: {in: "{ids}", limit: 5000, concurrency: 100}, get: "a:/{item}"}',
        parameters="{ids: {type: array, items: {type: integer}}}",
    )
    result = run(walked(wide, Upstreams(after(0.01, 1)), ids=list(range(5000))))
    assert result.took == pytest.approx(0.5)
    assert result.left == 0


def test_outcomes_are_published_in_the_order_in_which_they_land() -> None:
    three = plan('slow: {get: "a:/3"}\nlast: {get: "a:/1?x={slow}"}\nfast: {get: "a:/1"}\n'
                 'never: {get: "a:/9", when: "`false`"}')  # fmt: skip
    published: list[tuple[str, float, Outcome]] = []

    async def answer(request: Request) -> Any:
        await asyncio.sleep(int(target_of(request)[1]) / 10)
        return 1

    async def main() -> list[Outcome | None]:
        began = loop_time()
        bound = BoundPlan(three, {"a": Upstreams(answer)}, clock=loop_time)
        return await bound.execute(
            Inputs({}),
            Deadline(began + 10),
            publish=lambda section, outcome: published.append(
                (section.name, round(loop_time() - began, 6), outcome)
            ),
        )

    outcomes = run(main())
    assert [(name, at) for name, at, _ in published] == [
        ("never", 0), ("fast", 0.1), ("slow", 0.3), ("last", 0.4),
    ]  # fmt: skip
    landed = {name: outcome for name, _, outcome in published}
    assert [landed[section.name] for section in three.sections] == outcomes


def test_what_the_deadline_ends_is_published_too() -> None:
    one = plan('a: {get: "a:/a", fallback: 1}\nb: {get: "a:/b"}', deadline="1s")
    published: list[tuple[str, str]] = []

    async def main() -> None:
        bound = BoundPlan(one, {"a": Upstreams(after(60))}, clock=loop_time)
        await bound.execute(
            Inputs({}),
            Deadline(loop_time() + 1),
            publish=lambda section, outcome: published.append((section.name, outcome.state)),
        )

    run(main())
    assert published == [("a", "fallback"), ("b", "failed")]


def test_a_chain_of_sections_without_a_call_lands_without_a_task() -> None:
    """As many as a dashboard may have: landing one starts the next in the same turn."""
    names = [f"s{n}" for n in range(100)]
    chain = plan(
        'first: {get: "a:/x", when: "`false`"}\n'
        + "\n".join(
            f'{name}: {{get: "a:/{{{before}}}"}}'
            for before, name in zip(["first", *names], names[:99], strict=False)
        )
    )
    upstreams = Upstreams(after(0))
    result = run(walked(chain, upstreams))
    assert {outcome.state for outcome in result.outcomes.values()} == {"skipped"}
    assert upstreams.calls == []


def test_a_long_chain_of_sections_that_land_at_once_is_no_deep_recursion() -> None:
    chain = 'x0: {get: "a:/x", fallback: 1}\n' + "\n".join(
        f'x{n}: {{get: "a:/x?id={{x{n - 1}}}", fallback: 1}}' for n in range(1, 100)
    )
    one = plan(chain)
    depths: list[int] = []

    class Refusing(Gate):
        def admit(self, passage: Passage) -> None:
            frame: Any = sys._getframe()
            depth = 0
            while frame is not None:
                frame, depth = frame.f_back, depth + 1
            depths.append(depth)
            raise LimiterFull("full", upstream="a")

    async def main() -> list[Outcome | None]:
        call = Refusing(context())(Upstreams(after(0)))
        bound = BoundPlan(one, {"a": call}, clock=loop_time)
        return await bound.execute(Inputs({}), Deadline(loop_time() + 5))

    assert {outcome.state for outcome in run(main()) if outcome} == {"fallback"}
    assert len(depths) == 100
    assert max(depths) < min(depths) + 10
