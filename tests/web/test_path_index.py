from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.path_index import PathIndex

INDEX = PathIndex(
    [
        ("/", "root"),
        ("/weather", "weather"),
        ("/weather/fastest", "fastest"),
        ("/weather/{city}", "city"),
        ("/users/{user}/posts/{post}", "post"),
        ("/users/me/posts/latest", "latest"),
    ]
)


@pytest.mark.parametrize(
    ("path", "target", "values"),
    [
        (b"/", "root", ()),
        (b"/weather", "weather", ()),
        (b"/weather/fastest", "fastest", ()),
        (b"/weather/London", "city", (("city", "London"),)),
        (b"/weather/a%2Fb", "city", (("city", "a/b"),)),
        (b"/weather/%C3%BC", "city", (("city", "ü"),)),
        (b"/%77eather", "weather", ()),
        (b"/weather/", "city", (("city", ""),)),  # a missing value, not another dashboard
        (b"/weather/fastest/", "fastest", ()),
        (b"/weather/London/", "city", (("city", "London"),)),
        (b"/users/1/posts/2", "post", (("user", "1"), ("post", "2"))),
        (b"/users/me/posts/latest", "latest", ()),
        (b"/users/me/posts/7", "post", (("user", "me"), ("post", "7"))),
    ],
)
def test_finds(path: bytes, target: str, values: tuple[tuple[str, str], ...]) -> None:
    assert INDEX.find(path) == (target, values)


@pytest.mark.parametrize(
    "path",
    [
        b"/nope",
        b"/weather/a/b",
        b"/users/1/posts",
        b"/users//",
        b"",
        b"*",
        b"/users/1",
        b"//",
        b"/weather/London//",
        b"//weather",
        b"//weather/",
    ],
)
def test_finds_nothing(path: bytes) -> None:
    assert INDEX.find(path) is None


def test_a_parameter_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(UnicodeDecodeError):
        INDEX.find(b"/weather/%FF")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_comes_back_as_one_value(text: str) -> None:
    found = PathIndex([("/a/{b}/c", 1)]).find(b"/a/" + quote(text, safe="").encode() + b"/c")
    assert found == (1, (("b", text),))


def test_a_thousand_routes_are_all_found() -> None:
    index = PathIndex([(f"/d{n}/{{id}}", n) for n in range(1000)])
    assert [index.find(b"/d%d/x" % n) for n in (0, 500, 999)] == [
        (n, (("id", "x"),)) for n in (0, 500, 999)
    ]
