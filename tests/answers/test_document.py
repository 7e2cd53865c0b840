from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.document import DocumentTemplate, compose
from gateway.engine.outcome import Fault, Outcome, State
from gateway.errors import DependencyFailed, ListTruncated, UpstreamStatus, UpstreamTimeout
from gateway.values.provenance import Provenance
from tests.planning import plan

THREE = plan('c: {get: "a:/"}\na: {get: "a:/", required: true}\nh: {get: "a:/", hidden: true}')


def test_sections_keep_the_order_of_their_declaration() -> None:
    merged = compose(THREE, [Outcome(State.OK, 1, 1), Outcome(State.OK, 2, 2), Outcome(State.OK)])
    assert merged.body == (
        b'{"data":{"c":1,"a":2},"errors":[],"meta":{"complete":true,'
        b'"sections":{"c":{"state":"ok"},"a":{"state":"ok"}}}}'
    )
    assert merged.complete
    assert merged.required is None


def test_states_reasons_and_times_are_told() -> None:
    outcomes = [
        Outcome(
            State.STALE, 1, 1, provenance=Provenance(as_of=0.9, reason=UpstreamTimeout("late"))
        ),
        Outcome(
            State.FALLBACK, 2, 2, faults=(Fault(UpstreamStatus("x", upstream="a", status=500)),)
        ),
        Outcome.failed(DependencyFailed("y"), "k"),
    ]
    document = json.loads(compose(THREE, outcomes).body)
    assert document["meta"] == {
        "complete": False,
        "sections": {
            "c": {"state": "stale", "as_of": "1970-01-01T00:00:00Z", "reason": "upstream_timeout"},
            "a": {"state": "fallback"},
        },
    }
    assert document["errors"] == [
        {"section": "a", "code": "upstream_status", "upstream": "a", "status": 500,
         "retryable": True, "detail": "x"},
        {"section": "h", "code": "dependency_failed", "upstream": None, "status": None,
         "retryable": False, "detail": "y", "element": "k"},
    ]  # fmt: skip


def test_a_stale_section_is_complete_and_a_skipped_one_too() -> None:
    outcomes = [Outcome(State.SKIPPED), Outcome(State.STALE, 1, 1), Outcome(State.OK)]
    merged = compose(THREE, outcomes)
    assert merged.complete
    assert json.loads(merged.body)["data"]["c"] is None


@pytest.mark.parametrize(
    ("faults", "deciding"),
    [("gg", 0), ("gd", 1), ("dg", 0), ("gfd", 2), ("gf", 1), ("fd", 1), ("ggt", 0), ("gdt", 1)],
)
def test_gone_is_certain_only_when_every_source_says_so(faults: str, deciding: int) -> None:
    errors = {
        "g": UpstreamStatus("gone", upstream="a", status=404),
        "d": UpstreamStatus("down", upstream="b", status=503, retryable=True),
        "f": UpstreamStatus("forbidden", upstream="c", status=403),
        "t": ListTruncated("3 elements beyond the limit"),
    }
    required = plan('x: {get: "a:/", required: true}')
    told = tuple(Fault(errors[letter]) for letter in faults)
    merged = compose(required, [Outcome(State.FAILED, faults=told)])
    assert merged.required is told[deciding]


def test_a_required_failure_is_told_even_where_others_never_landed() -> None:
    fault = UpstreamStatus("no", upstream="a", status=404)
    merged = compose(THREE, [None, Outcome.failed(fault), None])
    assert merged.required is not None
    assert merged.required.error is fault
    assert merged.body == b""
    assert [error["section"] for error in merged.errors] == ["a"]


@pytest.mark.parametrize("value", [2**70, {"a": [2**70]}, {1: 2}, {1, 2}])
def test_a_shaped_value_that_is_no_json_is_a_payload_error(value: Any) -> None:
    optional = plan('x: {get: "a:/"}\ny: {get: "a:/"}')
    document = json.loads(
        compose(optional, [Outcome(State.OK, 1, value), Outcome(State.OK, 1, "fine")]).body
    )
    assert document["data"] == {"x": None, "y": "fine"}
    assert document["errors"][0]["code"] == "upstream_payload"
    required = plan('x: {get: "a:/", required: true}')
    assert compose(required, [Outcome(State.OK, 1, value)]).required is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
OUTCOMES = st.builds(
    lambda state, value, as_of, text: Outcome(
        state, value, value, provenance=Provenance(as_of=as_of),
        faults=(Fault(UpstreamTimeout(text)),) if state in {State.FAILED, State.FALLBACK} else (),
    ),
    st.sampled_from([s for s in State if s is not State.FAILED]), JSON,
    st.none() | st.floats(0, 4e9), st.text(st.characters(exclude_categories=["Cs"])),
)  # fmt: skip


@pytest.mark.no_cover
@given(st.lists(OUTCOMES, min_size=3, max_size=3))
def test_any_outcomes_make_strict_json_and_the_same_bytes_again(outcomes: list[Outcome]) -> None:
    first, second = compose(THREE, outcomes), compose(THREE, outcomes)
    assert first.body == second.body
    document = json.loads(first.body, parse_constant=pytest.fail)
    assert list(document["data"]) == ["c", "a"]
    assert document["meta"]["complete"] == (not document["errors"])


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("levels", [*range(248, 258), 5000])
def test_however_deep_a_value_is_it_is_written_or_told(levels: int) -> None:
    """The writer of values has a bound."""
    both = plan('x: {get: "a:/"}\ny: {get: "a:/"}')
    merged = compose(both, [Outcome(State.OK, 1, nested(levels)), Outcome(State.OK, 1, 2)])
    assert b'"y":2' in merged.body
    written = re.search(rb'"x":\[', merged.body) is not None
    assert written == merged.complete == (levels <= 254)
    assert written == (not merged.errors)


def test_a_fallback_stands_in_for_a_value_that_is_no_json() -> None:
    stand_in = plan('x: {get: "a:/", required: true, fallback: {y: 1}}')
    merged = compose(stand_in, [Outcome(State.OK, 1, 2**70)])
    assert merged.required is None
    document = json.loads(merged.body)
    assert document["data"] == {"x": {"y": 1}}
    assert document["meta"]["sections"]["x"]["state"] == "fallback"
    assert document["errors"][0]["code"] == "upstream_payload"


def test_the_short_cut_leaves_what_cannot_be_written_to_the_long_way() -> None:
    outcomes = [Outcome(State.OK, 1, 2), Outcome(State.OK, 1, 2**70), Outcome(State.OK, 1, 3)]
    short = compose(THREE, outcomes, DocumentTemplate(THREE))
    assert short.body == compose(THREE, outcomes).body
    assert [error["section"] for error in short.errors] == ["a"]


def test_what_cannot_be_written_for_another_reason_is_a_bug_and_no_endless_search() -> None:
    one = plan('x: {get: "a:/"}')
    with pytest.raises(TypeError, match="surrogates"):
        compose(one, [Outcome.failed(DependencyFailed("\ud800"))])


@pytest.mark.no_cover
@given(
    st.lists(st.tuples(OUTCOMES, st.booleans()), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_any_mix_of_outcomes_is_merged_in_the_declared_order(
    outcomes: list[tuple[Outcome, bool]], hidden: list[bool]
) -> None:
    """Failed ones too, hidden ones too, each section where it was declared."""
    names = [f"s{n}" for n in reversed(range(len(outcomes)))]
    declared = plan(
        "\n".join(
            f'{name}: {{get: "a:/", hidden: {str(hidden[n]).lower()}}}'
            for n, name in enumerate(names)
        )
    )
    mixed = [
        Outcome.failed(UpstreamTimeout("late", upstream="a")) if failed else outcome
        for outcome, failed in outcomes
    ]
    merged = compose(declared, mixed)
    document = json.loads(merged.body, parse_constant=pytest.fail)
    shown = [name for n, name in enumerate(names) if not hidden[n]]
    assert list(document["data"]) == list(document["meta"]["sections"]) == shown
    faulty = [name for name, outcome in zip(names, mixed, strict=True) if outcome.faults]
    assert [error["section"] for error in document["errors"]] == faulty
    assert document["meta"]["complete"] == merged.complete == (not faulty)
    assert compose(declared, mixed).body == merged.body


def test_what_is_hidden_need_not_be_json() -> None:
    both = plan('x: {get: "a:/"}\nh: {get: "a:/", hidden: true}')
    merged = compose(both, [Outcome(State.OK, 1, 2**70), Outcome(State.OK, 1, 2**70)])
    assert [error["section"] for error in merged.errors] == ["x"]


@pytest.mark.no_cover
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["plain", "written", "stale", "kept", "skipped", "failing", "failed", "odd"]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=3), inner, max_size=3)
                ),
                max_leaves=6,
            ),
        ),
        min_size=3,
        max_size=3,
    )
)
def test_the_short_cut_writes_the_same_document(told: list[tuple[str, Any]]) -> None:
    outcomes = []
    for kind, value in told:
        match kind:
            case "plain":
                outcomes.append(Outcome(State.OK, value, value))
            case "written":
                body = orjson.dumps(value)
                outcomes.append(Outcome(State.OK, None, orjson.Fragment(body), written=body))
            case "stale":
                outcomes.append(
                    Outcome(State.STALE, value, value, provenance=Provenance(as_of=5.0))
                )
            case "kept":
                outcomes.append(
                    Outcome(
                        State.OK, value, value, provenance=Provenance(as_of=5.0, fresh_until=9.0)
                    )
                )
            case "skipped":
                outcomes.append(Outcome(State.SKIPPED))
            case "failing":
                late = UpstreamTimeout("late", upstream="a")
                outcomes.append(
                    Outcome(
                        State.STALE, value, value, provenance=Provenance(as_of=5.0, reason=late)
                    )
                )
            case "failed":
                outcomes.append(Outcome.failed(UpstreamTimeout("late", upstream="a")))
            case _:  # what cannot be written
                outcomes.append(Outcome(State.OK, 2**70, [2**70]))
    merged = compose(THREE, outcomes)
    short = compose(THREE, outcomes, DocumentTemplate(THREE))
    assert short.body == merged.body
    assert (short.complete, short.errors) == (merged.complete, merged.errors)
    assert b"".join(short.rendered) == b"".join(merged.rendered)
    kinds = {kind for kind, _ in told}
    if "odd" not in kinds:
        assert (DocumentTemplate(THREE).write(outcomes) is None) is bool(
            kinds & {"failing", "failed"}
        )


def test_the_short_cut_of_a_plan_that_shows_nothing() -> None:
    nothing = plan('h: {get: "a:/", hidden: true}')
    outcomes = [Outcome(State.OK, 1, 1)]
    assert (
        compose(nothing, outcomes, DocumentTemplate(nothing)).body
        == compose(nothing, outcomes).body
    )


def rendered(*outcomes: Outcome, short: bool = True) -> bytes:
    two = plan('x: {get: "a:/"}\ny: {get: "a:/"}')
    return b"".join(compose(two, outcomes, DocumentTemplate(two) if short else None).rendered)


OK = Outcome(State.OK, 1, 1)
LATE = UpstreamTimeout("late", upstream="a")


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize(
    "other",
    [
        Outcome(State.OK, 1, 1, provenance=Provenance(as_of=5.0, fresh_until=9.0, cache="hit")),
        Outcome(State.OK, 1, 1, provenance=Provenance(as_of=7.0, fresh_until=9.0, cache="miss")),
        Outcome(
            State.STALE, 1, 1, provenance=Provenance(as_of=5.0, fresh_until=6.0, cache="stale")
        ),
        Outcome(State.OK, None, orjson.Fragment(b"1"), written=b"1"),
    ],
    ids=["cached", "fetched again", "being revalidated", "passed on as bytes"],
)
def test_what_a_frontend_would_render_has_neither_ages_nor_revalidation(
    other: Outcome, *, short: bool
) -> None:
    assert rendered(other, OK, short=short) == rendered(OK, OK)
    failed = Outcome.failed(LATE)
    assert rendered(other, failed, short=short) == rendered(OK, failed)


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize(
    "other",
    [
        Outcome(State.OK, 2, 2),
        Outcome(State.STALE, 1, 1, provenance=Provenance(as_of=5.0, reason=LATE)),
        Outcome(State.FALLBACK, 1, 1, faults=(Fault(LATE),)),
        Outcome(State.SKIPPED),
        Outcome.failed(LATE),
        Outcome.failed(UpstreamTimeout("later", upstream="a")),
        Outcome(State.OK, 1, 1, faults=(Fault(LATE, 0),)),
    ],
    ids=["value", "stale for an error", "fallback", "skipped", "failed", "detail", "element"],
)
def test_what_a_frontend_would_render_has_data_errors_and_states(
    other: Outcome, *, short: bool
) -> None:
    assert rendered(other, OK, short=short) != rendered(OK, OK)


def test_a_reason_is_no_part_of_what_a_frontend_would_render() -> None:
    """The state is: it says that the value is stale for an error."""
    down = UpstreamStatus("down", upstream="a", status=503)
    first = Outcome(State.STALE, 1, 1, provenance=Provenance(as_of=5.0, reason=LATE))
    second = Outcome(State.STALE, 1, 1, provenance=Provenance(as_of=5.0, reason=down))
    assert rendered(first, OK) == rendered(second, OK)
