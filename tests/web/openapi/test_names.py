from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.openapi.names import Names
from gateway.web.openapi.shared import SHARED

PARTS = ("", "Sections", "Meta", "Event", "Line", "CompleteEvent")
OF_SECTIONS = ("", "Event", "Element", "ElementEvent")


def test_names_are_readable() -> None:
    names = Names({"user_dashboard": ["profile", "latest_posts"]})
    assert names.dashboard("user_dashboard") == "UserDashboard"
    assert names.dashboard("user_dashboard", "Meta") == "UserDashboardMeta"
    assert names.section("user_dashboard", "latest_posts") == "UserDashboardLatestPosts"
    assert names.section("user_dashboard", "profile", "Element") == "UserDashboardProfileElement"


@pytest.mark.parametrize(
    ("sections", "asked", "name"),
    [
        # The schemas of all dashboards come first, then documents, their parts and the sections.
        ({"problem": []}, ("problem",), "Problem2"),
        ({"a": ["meta"]}, ("a", "meta"), "AMeta2"),
        ({"a": ["b_c"], "a_b": ["c"]}, ("a", "b_c"), "ABC"),
        ({"a": ["b_c"], "a_b": ["c"]}, ("a_b", "c"), "ABC2"),
        ({"a": ["b"], "ab": []}, ("a", "b"), "AB2"),
        ({"a": ["b", "b_element"]}, ("a", "b_element"), "ABElement"),
        ({"a": ["b", "b_element"]}, ("a", "b", "Element"), "ABElement2"),
        ({"a": ["my-list", "my_list"]}, ("a", "my_list"), "AMyList2"),
        ({"_1": []}, ("_1",), "N1"),
        ({"_": []}, ("_",), "Dashboard"),
    ],
)
def test_what_would_collide_gets_a_number(
    sections: dict[str, list[str]], asked: tuple[str, ...], name: str
) -> None:
    names = Names(sections, SHARED)
    found = names.dashboard(*asked) if len(asked) == 1 else names.section(*asked)
    assert found == name


NAMES = st.lists(st.text("aAbB1_", min_size=1, max_size=4), max_size=4, unique=True)


@given(
    st.dictionaries(st.text("aAbB1_", min_size=1, max_size=4), NAMES, max_size=4),
    st.randoms(use_true_random=False),
)
def test_names_are_distinct_and_do_not_depend_on_the_order(
    sections: dict[str, list[str]], random: Random
) -> None:
    def all_names(names: Names) -> list[str]:
        return [names.dashboard(d, part) for d in sections for part in PARTS] + [
            names.section(d, section, part)
            for d in sections
            for section, part in itertools.product(sections[d], OF_SECTIONS)
        ]

    found = all_names(Names(sections, SHARED))
    assert len({name.casefold() for name in [*found, *SHARED]}) == len(found) + len(SHARED)
    items = list(sections.items())
    random.shuffle(items)
    moved = {d: sorted(names, key=lambda _: random.random()) for d, names in items}
    assert all_names(Names(moved, SHARED)) == found
