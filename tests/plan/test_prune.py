from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call import Request
from gateway.plan.model import Plan
from gateway.plan.prune import UnknownSectionsError, named, pruned
from tests.operations import target_of
from tests.planning import Result, Upstreams, after, plan, walked
from tests.virtual_time import run

WHOLE = plan(
    """
one: {get: "a:/one/{id}", required: true}
secret: {get: "a:/secret", hidden: true}
two: {get: "b:/two?x={one.x}&s={secret.x}"}
each: {for_each: "{ids}", get: "b:/each/{item}"}
next: {for_each: "{each}", get: "b:/next/{item.x}?o={two.x}"}
last: {get: "a:/last", when: "two.x == `2`", select: "x"}
alone: {get: "a:/alone", required: true}
other: {get: "b:/other?x={alone.x}"}
"""
    , path="/d/{id}", parameters="{id: {type: integer}, ids: {type: array, items: {type: integer}}}",
)  # fmt: skip
PLACES = {section.name: section.index for section in WHOLE.sections if not section.hidden}
KNOWN = "; there is alone, each, last, next, one, other, two"


def part(*names: str) -> Plan:
    return pruned(WHOLE, named(names, PLACES))


def ask(one: Plan) -> tuple[Result, list[str]]:
    def value(request: Request) -> Any:
        return {"x": len(target_of(request))}

    upstreams = Upstreams(after(0.1, value))
    result = run(walked(one, upstreams, id=1, ids=[1, 2]))
    return result, upstreams.targets


def test_a_part_has_what_is_asked_for_and_what_that_needs() -> None:
    one = part("next")
    assert [(s.name, s.index, s.hidden) for s in one.sections] == [
        ("one", 0, True), ("secret", 1, True), ("two", 2, True), ("each", 3, True),
        ("next", 4, False),
    ]  # fmt: skip
    assert (one.roots, one.followers[3]) == ((0, 1, 3), (4,))
    two = part("other")
    assert [(s.name, s.index, s.needs) for s in two.sections] == [
        ("alone", 0, ()), ("other", 1, (0,)),
    ]  # fmt: skip


def test_what_is_neither_asked_for_nor_needed_is_not_called_even_if_it_is_required() -> None:
    result, targets = ask(part("other"))
    assert targets == ["/alone", "/other?x=6"]
    assert list(result.outcomes) == ["alone", "other"]
    assert b'"data":{"other":{"x":10}}' in result.merged.body


def test_a_required_section_that_is_needed_decides_as_ever() -> None:
    one = pruned(plan('x: {get: "a:/", required: true}\ny: {get: "b:/{x.id}"}'), frozenset({1}))
    error = RuntimeError("not this one")
    with pytest.raises(RuntimeError):
        run(walked(one, Upstreams(after(0, error))))


def test_a_value_that_no_section_of_the_part_reads_is_passed_on_as_bytes() -> None:
    assert not WHOLE.sections[PLACES["one"]].opaque
    assert part("one").sections[0].opaque
    assert part("two", "one").sections[0].reads
    assert not part("one").sections[0].reads


@settings(max_examples=60)
@given(st.lists(st.sampled_from(sorted(PLACES)), min_size=1))
def test_a_part_of_a_document_is_the_document_of_a_part(names: list[str]) -> None:
    whole, _ = ask(WHOLE)
    some, _ = ask(part(*names))
    shown = [section.name for section in some.plan.sections if not section.hidden]
    assert shown == [name for name in PLACES if name in names]  # in the order of declaration
    for name in shown:
        assert (some.data(name), some.state(name)) == (whole.data(name), whole.state(name))


def test_all_visible_sections_are_the_whole_document() -> None:
    whole, _ = ask(WHOLE)
    every, _ = ask(part(*PLACES))
    assert every.merged.body == whole.merged.body
    assert every.merged.rendered == whole.merged.rendered


def test_names_are_joined_from_several_texts_in_any_order_and_as_often_as_one_likes() -> None:
    once = named(["one,two"], PLACES)
    assert once == named(["two", "one,one"], PLACES) == frozenset({0, 2})


@pytest.mark.parametrize(
    ("texts", "details"),
    [
        ([""], ["has an empty name; separate the names by single commas"]),
        (["one,,two", ","], ["has an empty name; separate the names by single commas"]),
        (["secret"], ["names no section secret" + KNOWN]),
        (["onne, one"], ["names no section onne, did you mean one?", "names no section  one"]),
        (["x" * 100], ["names no section " + "x" * 30 + " ... " + "x" * 29 + KNOWN]),
    ],
)
def test_unknown_hidden_and_empty_names_are_refused(texts: list[str], details: list[str]) -> None:
    with pytest.raises(UnknownSectionsError) as caught:
        named(texts, PLACES)
    assert caught.value.details == details


def test_only_the_first_of_thousands_of_names_is_compared_with_all() -> None:
    with pytest.raises(UnknownSectionsError) as caught:
        named([",".join(f"onne{number}" for number in range(4000))], PLACES)
    assert sum("did you mean" in detail for detail in caught.value.details) == 1
    assert len(caught.value.details) == 4000
