from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.compiler import path_shape
from gateway.errors import ConfigError
from gateway.suggestion import suggest
from tests.planning import plan


def test_the_graph_is_that_of_the_references() -> None:
    compiled = plan(
        'w: {get: "a:/w?x={p.x}&y={q}"}\np: {get: "a:/p/{id}"}\nq: {get: "a:/q", when: "p.on && id"}\n'
        'r: {get: "a:/r"}',
        path="/d/{id}",
        parameters="{id: {type: integer}}",
    )
    names = [section.name for section in compiled.sections]
    assert names == ["w", "p", "q", "r"]
    assert [section.needs for section in compiled.sections] == [(1, 2), (), (1,), ()]
    assert compiled.roots == (1, 3)
    assert compiled.dependents == ((), (0, 2), (0,), ())
    assert compiled.parameters[0].in_path


def test_a_list_that_follows_a_list_waits_for_its_opening_only() -> None:
    compiled = plan(
        'l: {get: "a:/l"}\np: {for_each: "{l}", get: "a:/p/{item}"}\n'
        'f: {for_each: "{p}", get: "a:/f/{item}"}\n'
        'whole: {for_each: "{p}", get: "a:/w/{item}?first={p[0]}"}\n'
        'cond: {for_each: "{p}", get: "a:/c/{item}", when: "p"}\n'
        'b: {for_each: {in: "{p}", batch: 3}, get: "a:/b?i={item}"}'
    )
    flows = {s.name: s.for_each.flows_from for s in compiled.sections if s.for_each}
    assert flows == {"p": None, "f": 1, "whole": 1, "cond": 1, "b": None}
    assert compiled.followers[1] == (2, 3, 4)
    assert compiled.dependents[1] == (3, 4, 5)
    assert compiled.sections[2].needs == ()


@pytest.mark.parametrize(
    ("when", "needs"),
    [("a", (0,)), ("a.b", (0,)), ("a[0].b", (0,)), ("length(a) > `0`", (0,)), ("!a && b", (0, 1)),
     ("a || b", (0, 1)), ("[a, b]", (0, 1)), ("{x: a}", (0,)), ("a[?b].a", (0,)), ("a | b", (0,)),
     ("`true`", ()), ("@", ()), ("sort_by(a, &b)", (0,)), ("a[*].b", (0,)), ("*.b", ())],
)  # fmt: skip
def test_a_condition_needs_what_it_reads(when: str, needs: tuple[int, ...]) -> None:
    compiled = plan(f"a: {{get: 'a:/'}}\nb: {{get: 'a:/'}}\nc: {{get: 'a:/', when: '{when}'}}")
    assert compiled.sections[2].needs == needs


def test_sections_carry_the_tags_that_they_are_purged_by() -> None:
    assert plan('x: {get: "a:/"}').sections[0].tags == ("dashboard:d", "section:d.x")


def test_paths_of_one_shape_collide() -> None:
    assert path_shape("/a/{b}/c") == path_shape("/a/{d}/c") != path_shape("/a/b/c")


def test_suggestions() -> None:
    assert suggest("userz", ["users", "posts"]) == ", did you mean users?"
    assert suggest("xyz", ["users", "posts"]) == "; there is posts, users"
    assert suggest("xyz", [f"n{n}" for n in range(20)]) == ""
    assert suggest("xyz", []) == ""


@given(st.data())
def test_any_graph_with_a_ring_is_refused_and_any_without_is_not(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    edges = {n: data.draw(st.sets(st.integers(0, count - 1), max_size=2)) for n in range(count)}
    text = "\n".join(
        f's{n}: {{get: "a:/?' + "&".join(f"p{m}={{s{m}}}" for m in sorted(edges[n])) + '"}'
        for n in range(count)
    )
    left = dict(edges)
    while True:  # Kahn's algorithm, as an independent judge
        free = [n for n, needs in left.items() if not needs & set(left)]
        if not free:
            break
        for n in free:
            del left[n]
    if left:
        with pytest.raises(ConfigError, match="sections wait for each other"):
            plan(text)
    else:
        compiled = plan(text)
        assert {s.index: set(s.needs) for s in compiled.sections} == edges
