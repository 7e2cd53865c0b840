from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.values.suggestion import suggest
from tests.planning import Upstreams, after, plan, walked
from tests.virtual_time import run


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


OPTIONAL = "{q: {type: string, required: false}, r: {type: string, required: false}, "
OPTIONAL += "l: {type: array, items: {type: string}, required: false}}"


@pytest.mark.parametrize(
    "sections",
    [
        'x: {get: "a:/x?q={q}"}',  # its pair is dropped
        'x: {get: "a:/{q}", when: q}',
        'x: {get: "a:/{q}", when: "q != `null`"}',
        'x: {get: "a:/{q}", when: "length(@) > `1`"}',
        'x: {get: "a:/{q}", fallback: 1}',
        'x: {race: ["a:/{q}", "a:/"]}',
        'x: {race: ["a:/{q}", "a:/{r}"]}',  # one of them may be there
        'x: {for_each: "{l}", get: "a:/{item}?first=l-{l[0]}"}',  # no elements, no calls
        # What it waits for is skipped, and so is it.
        'g: {get: "a:/", when: q}\nx: {get: "a:/{q}/{g.id}"}',
        'g: {get: "a:/", when: q}\nh: {get: "a:/{g.id}"}\nx: {get: "a:/{q}/{h.id}"}',
        'g: {for_each: "{l}", get: "a:/{item}"}\nx: {for_each: "{g}", get: "a:/{item}/{l[0]}"}',
    ],
)
def test_an_optional_parameter_is_fine_where_its_absence_fails_nothing(sections: str) -> None:
    plan(sections, parameters=OPTIONAL)


@pytest.mark.parametrize(
    "sections",
    [
        'x: {get: "a:/{q}"}',
        'x: {get: "a:/?q=x-{q}"}',
        'x: {get: "a:/?{q}=1"}',
        'x: {get: "a:/?q={q}{q}"}',
        'x: {get: "a:/?q={l[0]}"}',
        'x: {get: "a:/{q}", when: r}',
        'x: {race: ["a:/{q}", "a:/{q}/{r}"]}',
        'x: {for_each: "{l}", get: "a:/{item}/{q}"}',
        'g: {get: "a:/", when: r}\nx: {get: "a:/{q}/{g.id}"}',
    ],
)
def test_an_optional_parameter_whose_absence_always_fails_a_section_is_told(sections: str) -> None:
    with pytest.raises(ConfigError, match="may be absent, and then x always fails") as caught:
        plan(sections, parameters=OPTIONAL)
    assert len(caught.value.diagnostics) == 1


@pytest.mark.parametrize(
    "q", ["{type: string}", "{type: string, default: a}", "{type: string, required: true}"]
)
def test_a_parameter_that_is_always_there_can_stand_anywhere(q: str) -> None:
    plan('x: {get: "a:/{q}?a=b-{q}"}', parameters=f"{{q: {q}}}")


SHARED = """
user: {get: "a:/users/{user}", when: "user > `0`"}
posts: {get: "a:/posts?by={user.id}", when: "user.active"}
each: {for_each: "{user.friends}", get: "a:/users/{item}"}
names: {for_each: "{names}", get: "a:/names/{item}"}
"""


def test_a_parameter_and_a_section_of_one_name_are_each_what_only_they_can_be() -> None:
    compiled = plan(
        SHARED,
        path="/d/{user}",
        parameters="{user: {type: integer}, names: {type: array, items: {type: string}}}",
    )
    assert [section.needs for section in compiled.sections] == [(), (0,), (0,), ()]

    async def answer(request: object) -> object:
        return {"id": "ada", "active": True, "friends": [7]}

    upstreams = Upstreams(answer)
    result = run(walked(compiled, upstreams, user=5, names=["a", "b"]))
    assert sorted(upstreams.targets) == [
        "/names/a", "/names/b", "/posts?by=ada", "/users/5", "/users/7",
    ]  # fmt: skip
    assert {result.state(name) for name in ("user", "posts", "each", "names")} == {"ok"}
    skipped = run(walked(compiled, Upstreams(after(0, {})), user=0, names=[]))
    assert (skipped.state("user"), skipped.state("posts")) == ("skipped", "skipped")


def test_a_name_that_nothing_refers_to_can_be_a_parameter_and_a_section() -> None:
    plan('x: {get: "a:/"}', path="/d/{x}", parameters="{x: {type: string}}")


@pytest.mark.parametrize(
    ("section", "x"),
    [
        ('y: {get: "a:/{x}"}', "{type: string}"),
        ('y: {get: "a:/", when: x}', "{type: string}"),
        ('y: {for_each: "{x}", get: "a:/{item}"}', "{type: array}"),
        ('y: {get: "a:/{x[0]}"}', "{type: array}"),
        ('y: {get: "a:/{x}/{x}", when: x}\nz: {get: "a:/{x}"}', "{type: string}"),
    ],
)
def test_a_name_that_could_be_either_is_told_once_with_both_places(section: str, x: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(f'x: {{get: "a:/"}}\n{section}', parameters=f"{{x: {x}}}")
    (diagnostic,) = caught.value.diagnostics
    assert "could mean parameters.x or sections.x; rename one of them" in diagnostic.message
    assert diagnostic.location[:4] == ("dashboards", "d", "sections", "y")


def test_a_path_into_a_single_value_is_the_section_and_it_cannot_wait_for_itself() -> None:
    with pytest.raises(ConfigError, match="sections wait for each other: x -> x"):
        plan('x: {get: "a:/{x.id}"}', parameters="{x: {type: string}}")


def test_sections_carry_the_tags_that_they_are_purged_by() -> None:
    assert plan('x: {get: "a:/"}').sections[0].tags == ("dashboard:d", "section:d.x")


def test_suggestions() -> None:
    assert suggest("userz", ["users", "posts"]) == ", did you mean users?"
    assert suggest("xyz", ["users", "posts"]) == "; there is posts, users"
    assert suggest("xyz", [f"n{n}" for n in range(20)]) == ""
    assert suggest("xyz", []) == ""
