from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.plan.graph import cycles
from tests.planning import plan


def test_roots_wait_for_none_and_followers_take_elements() -> None:
    made = plan(
        'a: {get: "a:/"}\n'
        'b: {for_each: "{a}", get: "a:/{item}"}\n'
        'c: {for_each: "{b}", get: "a:/{item}"}\n'
        'd: {get: "a:/{a.id}"}'
    )
    assert made.roots == (0,)
    assert made.dependents == ((1, 3), (), (), ())
    assert made.followers == ((), (2,), (), ())


def test_a_section_knows_what_others_read_of_it_and_how_much_of_a_list() -> None:
    made = plan(
        'n: {get: "a:/n/{n}"}\n'
        'one: {for_each: {in: "{n.list}", limit: 3}, get: "b:/{item}"}\n'
        'two: {for_each: {in: "{n.list}", limit: 5}, get: "b:/{item}?x={n.x}", when: "one"}\n'
        'three: {for_each: {in: "{n.all}", limit: 2}, get: "b:/{item}?x={n.all}"}\n'
        'four: {for_each: "{three}", get: "b:/{item.id}"}',
        path="/d/{n}",
        parameters="{n: {type: integer}}",
    )
    reads = {section.name: dict(section.reads) for section in made.sections}
    assert reads["n"] == {"n.list": 5, "n.x": None, "n.all": None}
    assert list(reads["three"]) == ["three"]
    assert [s.name for s in made.sections if s.reads] == ["n", "three"]
    assert [s.name for s in made.sections if s.judged] == ["one"]


def test_what_looks_at_everything_looks_into_every_section() -> None:
    made = plan('a: {get: "a:/"}\nb: {get: "a:/", when: "length(@) > `1`"}')
    assert all(section.judged for section in made.sections)


@pytest.mark.parametrize(
    ("needs", "found"),
    [
        ([{0}], [[0, 0]]),
        ([{1}, {0}], [[0, 1, 0]]),
        ([{1}, {2}, {1}], [[1, 2, 1]]),
        ([{1, 2}, {2}, set()], []),
        ([{1}, {0}, {3}, {2}], [[0, 1, 0], [2, 3, 2]]),
    ],
)
def test_each_cycle_is_found_once(needs: list[set[int]], found: list[list[int]]) -> None:
    assert list(cycles(needs)) == found


@pytest.mark.no_cover
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
