from __future__ import annotations

import pytest

from gateway.plan.path import RESERVED, mistakes_in_path, path_shape, placeholders


def test_paths_of_one_shape_collide() -> None:
    assert path_shape("/a/{b}/c") == path_shape("/a/{d}/c") != path_shape("/a/b/c")


def test_placeholders_are_names_in_braces() -> None:
    assert placeholders("/a/{b}/c/{d}") == {"b", "d"}


@pytest.mark.parametrize(
    ("path", "said", "offset"),
    [
        ("/a/{c}", "{c} is not a declared parameter", 3),
        ("/{b}/{b}", "{b} is in the path twice", 5),
        ("/a/x{b}", "'x{b}' is not a path segment", 0),
        ("/a/..", "'..' is not a path segment", 0),
        ("/a b", "'a b' is not a path segment", 0),
        ("/a//b", "the path has an empty segment", 0),
        ("/a/", "the path has an empty segment", 0),
        *[(path, f"{path} is reserved", 0) for path in RESERVED],
        ("/docs/{b}", "/docs/{b} is reserved", 0),
    ],
)
def test_a_mistake_is_found_where_it_is(path: str, said: str, offset: int) -> None:
    (mistake,) = mistakes_in_path(path, {"b"})
    assert mistake.message.startswith(said)
    assert mistake.offset == offset


@pytest.mark.parametrize("path", ["/", "/a", "/a/{b}", "/{b}", "/docsy"])
def test_a_good_path_has_none(path: str) -> None:
    assert not list(mistakes_in_path(path, {"b"}))
