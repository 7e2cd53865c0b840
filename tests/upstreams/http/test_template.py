from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DependencyFailed
from gateway.expressions.reference import ABSENT, TemplateError
from gateway.upstreams.http.template import parse_template

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NASTY = st.sampled_from(
    ["/", "..", ".", "//evil.test", "?x=1", "#f", "&b=2", "=", "%2e%2e", "%", "\\", "\0", "\r\nHost: x",
     "@evil.test", ":", " ", "+", ";", "é", "\U0001f600", "{id}", "}}"]
)  # fmt: skip
TEXTS = ANY_TEXT | NASTY | st.lists(NASTY, max_size=4).map("".join)


def render(template: str, **scope: Any) -> str:
    return parse_template(template).render(scope)


@pytest.mark.no_cover
@given(TEXTS, TEXTS)
def test_no_value_changes_host_depth_or_parameters(path: str, query: str) -> None:
    template = "up:/users/{a}/posts/x-{a}?q={b}&fixed=1&{b}=2"
    if path in {"", ".", ".."}:
        with pytest.raises(DependencyFailed):
            render(template, a=path, b=query)
        return
    target = render(template, a=path, b=query)
    assert target.isascii()
    assert not any(char.isspace() for char in target)
    url = urlsplit("http://host.test" + target)
    assert (url.netloc, url.fragment) == ("host.test", "")
    segments = url.path.split("/")
    assert segments[:2] + segments[3:4] == ["", "users", "posts"]
    assert [unquote(segments[2]), unquote(segments[4])] == [path, f"x-{path}"]
    assert len(segments) == 5
    pairs = parse_qsl(url.query, keep_blank_values=True, strict_parsing=False)
    assert pairs == [("q", query), ("fixed", "1"), (query, "2")]
    # And as httpx, and so every server that it asks, understands it.
    theirs = httpx.URL("http://host.test" + target)
    assert theirs.host == "host.test"
    assert theirs.raw_path.decode() == target


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans())
def test_scalars_are_written_as_json_writes_them(value: float) -> None:
    target = render("up:/x?v={v}", v=value)
    expected = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    assert unquote(target.partition("v=")[2]) == expected


@pytest.mark.no_cover
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_a_list_repeats_its_pair(values: list[str]) -> None:
    target = render("up:/x?a=1&id={ids}", ids=values)
    assert parse_qsl(target.partition("?")[2], keep_blank_values=True) == [
        ("a", "1"), *(("id", value) for value in values),
    ]  # fmt: skip


def test_an_absent_optional_parameter_drops_its_pair() -> None:
    assert render("up:/x?a={a}&b=1&c={c}", a=ABSENT, c=ABSENT) == "/x?b=1"
    assert render("up:/x?a={a}", a=ABSENT) == "/x"
    assert not ABSENT
    for template in ("up:/{a}", "up:/x?b=c-{a}", "up:/x?{a}=1"):
        with pytest.raises(DependencyFailed):
            render(template, a=ABSENT)


@pytest.mark.parametrize(
    ("value", "why"),
    [(None, "has no value"), ({"b": 1}, "is an object"), ([], "is an empty list"),
     ([None], "has no value"), ([[1]], "is a list"), ("\ud800", "not valid Unicode")],
)  # fmt: skip
def test_what_cannot_stand_in_a_query_is_refused(value: Any, why: str) -> None:
    with pytest.raises(DependencyFailed, match=why):
        render("up:/x?a={a}", a=value)


@pytest.mark.parametrize("value", ["", ".", "..", [1], None, {}])
def test_what_cannot_stand_in_a_path_is_refused(value: Any) -> None:
    with pytest.raises(DependencyFailed):
        render("up:/users/{a}", a=value)


@pytest.mark.parametrize(("a", "b"), [(".", "."), ("", "."), ("", ""), ("..", "")])
def test_dot_segments_cannot_be_put_together(a: str, b: str) -> None:
    with pytest.raises(DependencyFailed):
        render("up:/users/{a}{b}/x", a=a, b=b)
    assert render("up:/users/{a}{b}/x", a="..", b="c") == "/users/..c/x"


@pytest.mark.parametrize(
    ("template", "target"),
    [
        ("up:/", "/"),
        ("up:/a/b", "/a/b"),
        ("up:/a//b/", "/a//b/"),
        ("up:/a%20b?c=%2F&d&e=", "/a%20b?c=%2F&d&e="),
        ("up:/a&b?c=1", "/a%26b?c=1"),
        ("up:/ü?q=ü/?x", "/%C3%BC?q=%C3%BC/?x"),
        ("up:/{{a}}?b={{{{}}", "/%7Ba%7D?b=%7B%7B%7D"),
        ("up:/x?current=a,b,c", "/x?current=a,b,c"),
        ("up:/x?a=b=c", "/x?a=b=c"),
    ],
)
def test_literals_stay_what_they_are(template: str, target: str) -> None:
    assert render(template) == target


@pytest.mark.parametrize(
    ("template", "offset"),
    [
        ("/users", 0), ("up", 0), ("up:users", 0), ("http://up/x", 6), ("", 0), ("2up:/", 0),
        ("up:/a b", 5), ("up:/a#b", 5), ("up:/a\\b", 5), ("up:/\x01", 4), ("up:/\x7f", 4),
        ("up:/a/../b", 6), ("up:/.", 4), ("up:/%2E%2e/x", 4),
        ("up:/{a", 4), ("up:/a}", 5), ("up:/x?a={b", 8), ("up:/{}", 4), ("up:/{a b}", 6),
        ("up:/{a.}", 4), ("up:/{1}", 4), ("up:/x/{a[x]}", 6), ("up:/x?y=1&z={a..b}", 12),
    ],
)  # fmt: skip
def test_malformed_templates_are_told_with_their_offset(template: str, offset: int) -> None:
    if template == "http://up/x":  # `http` could be an upstream, and //up/x a path
        assert parse_template(template).upstream == "http"
        return
    with pytest.raises(TemplateError) as caught:
        parse_template(template)
    assert caught.value.offset == offset


def test_references_are_found_where_they_stand() -> None:
    template = parse_template("up:/a/{b.c}/{d}?{e}={f[0]}&g=h{i}")
    assert [r.root for r in template.references] == ["b", "d", "e", "f", "i"]
    assert [template.text[r.offset] for r in template.references] == ["{"] * 5
    assert [r.bare for r in template.references] == [False, True, True, False, True]


def test_a_call_needs_every_reference_but_those_that_are_a_whole_query_value() -> None:
    template = parse_template("up:/{a}?b={b}&c={c.d}&e=x-{e}&{f}=1&g-{g}={h}&i={i}{j}&k")
    needed = [reference.text for reference in template.needed_references()]
    assert needed == ["a", "c.d", "e", "f", "g", "h", "i", "j"]


@pytest.mark.parametrize(
    ("template", "target"),
    [
        ("up:/a{{b/{v}", "/a%7Bb/1"),
        ("up:/a}}b/{v}/c", "/a%7Db/1/c"),
        ("up:/{{{v}}}/x", "/%7B1%7D/x"),
        ("up:/x?a={{&b={v}&c=}}&d={v}", "/x?a=%7B&b=1&c=%7D&d=1"),
        ("up:/x?a={{&b={gone}&c=1", "/x?a=%7B&c=1"),
    ],
)
def test_literal_braces_hide_no_separator(template: str, target: str) -> None:
    assert render(template, v=1, gone=ABSENT) == target


@pytest.mark.parametrize(
    ("template", "offset"),
    [("up:/x%{a}", 5), ("up:/x%2{a}", 5), ("up:/%", 4), ("up:/x?y=100%", 11), ("up:/%zz", 4),
     ("up:/x?y=%{a}", 8)],
)  # fmt: skip
def test_a_lone_percent_could_escape_what_follows_it(template: str, offset: int) -> None:
    with pytest.raises(TemplateError, match="%25") as caught:
        parse_template(template)
    assert caught.value.offset == offset
    assert render("up:/x%25{a}", a="2F") == "/x%252F"


LITERAL = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="/?#&=%\\{}.")
                  | st.sampled_from("{}"), min_size=1, max_size=6)  # fmt: skip
PIECE = st.lists(LITERAL | st.just(None), min_size=1, max_size=3)


@pytest.mark.no_cover
@given(st.lists(PIECE, min_size=1, max_size=4), st.lists(PIECE, max_size=4), TEXTS)
def test_any_template_keeps_its_shape(path: Any, query: Any, value: str) -> None:
    """Whatever literals and references are put together, the target decodes to what was meant."""

    def written(piece: list[str | None]) -> str:
        return "".join(
            "{v}" if part is None else part.replace("{", "{{").replace("}", "}}") for part in piece
        )

    def meant(piece: list[str | None]) -> str:
        return "".join(value if part is None else part for part in piece)

    text = "up:/" + "/".join(map(written, path))
    if query:
        text += "?" + "&".join(f"n{n}={written(piece)}" for n, piece in enumerate(query))
    if any(meant(piece) in {"", ".", ".."} for piece in path):
        with pytest.raises(DependencyFailed):
            render(text, v=value)
        return
    url = urlsplit("http://host.test" + render(text, v=value))
    assert [unquote(segment) for segment in url.path.split("/")[1:]] == [meant(p) for p in path]
    pairs = [pair.partition("=") for pair in url.query.split("&")] if query else []
    assert [(name, unquote(text)) for name, _, text in pairs] == [
        (f"n{n}", meant(piece)) for n, piece in enumerate(query)
    ]
