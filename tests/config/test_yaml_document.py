"""The document by itself: what a text means, where things stand, what is no document."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.yaml_document import Document, Place, read
from gateway.errors import Diagnostic


def value(text: str, **environment: str) -> Any:
    """Return the value of a text that is fine."""
    document = read(text, environment)
    assert document.diagnostics == []
    return document.value


def told(text: str, **environment: str) -> list[str]:
    """Return `line:col: message` for each mistake, in the order they were found."""
    return [f"{f.line}:{f.column}: {f.message}" for f in read(text, environment).diagnostics]


# What a scalar is


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nULL", "nULL"),
        ("true", True), ("True", True), ("TRUE", True), ("false", False), ("tRUE", "tRUE"),
        # Booleans of YAML 1.1 are text.
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("NO", "NO"),
        # So are its dates, sexagesimals, octals and digit groups.
        ("2020-01-01", "2020-01-01"), ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        ("12:30:45", "12:30:45"), ("1_000", "1_000"), ("0b11", "0b11"),
        ("0", 0), ("-0", 0), ("+5", 5), ("007", 7), ("0o17", 15), ("0x1F", 31), ("0o8", "0o8"),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)),
        ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("-1.5E-3", -0.0015), ("e3", "e3"),
        (".", "."), ("٣", "٣"),  # no digits of other scripts
        ("'5'", "5"), ('"true"', "true"), ('"~"', "~"), ("'it''s'", "it's"), (r'"\u00e4\n"', "ä\n"),
        ("|\n  a\n  b\n", "a\nb\n"), (">\n  a\n  b\n", "a b\n"), ("|-\n  5\n", "5"),
        ("a\n  b", "a b"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(yaml: str, expected: Any) -> None:
    got = value(f"k: {yaml}\n")["k"]
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("yaml", "why"),
    [
        (".nan", ".nan is not a finite number"), (".NaN", ".NaN is not a finite number"),
        (".inf", ".inf is not a finite number"), ("-.INF", "-.INF is not a finite number"),
        ("1e999", "1e999 is not a finite number"),
        ("9223372036854775808", "an integer has at most 64 bits"),
        ("-9223372036854775809", "an integer has at most 64 bits"),
        ("0xFFFFFFFFFFFFFFFFFF", "an integer has at most 64 bits"),
        ("9" * 10_000, "an integer has at most 64 bits"),
        ("!!int 5", "tags such as !!int are not supported"),
        ("!!python/name:os.system ''", "tags such as !!python/name:os.system are not supported"),
        ("!!binary aGk=", "tags such as !!binary are not supported"),
        ("!mine x", "tags such as !mine are not supported"),
        ("!mine [x]", "tags such as !mine are not supported"),
        ("!!set {x}", "tags such as !!set are not supported"),
    ],
)  # fmt: skip
def test_values_that_json_does_not_have_are_refused(yaml: str, why: str) -> None:
    assert told(f"a: 1\nk: {yaml}") == [f"2:4: {why}"]


def test_lone_surrogates_are_no_text() -> None:
    """They come from undecodable bytes of the environment, from escapes, from code."""
    assert told("k: ${V}", V="a\udcff") == ["1:4: a lone surrogate is not valid text"]
    (line,) = told(r'k: "\ud800"')
    assert line.startswith("1:7: not valid YAML: ")
    (line,) = told("k: 1\nj: \ud800")
    assert "not valid YAML: " in line


@pytest.mark.parametrize("tag", ["!!str", "!!map", "!!seq", "!"])
def test_tags_that_say_what_is_so_anyway_are_fine(tag: str) -> None:
    thing = {"!!map": "{x: 1}", "!!seq": "[1]"}.get(tag, "x")
    assert value(f"k: {tag} {thing}")["k"] in ("x", {"x": 1}, [1])


@pytest.mark.no_cover
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text("ab ${}:#'\"\\\n\té", max_size=8).filter(lambda t: "${" not in t),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abc<", min_size=1, max_size=4), inner, max_size=4),
        max_leaves=15,
    )
)  # fmt: skip
def test_json_is_read_as_json(thing: Any) -> None:

    got = value(json.dumps(thing))
    assert got == thing
    assert json.dumps(got) == json.dumps(thing)  # true is not 1, 1.0 is not 1


# Variables


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("${A}", "x"), ('"${A}"', "x"), ("a${A}b${A}", "axbx"), ("${Z:-d}", "d"), ("${A:-d}", "x"),
        ("${Z:-}", None), ('"${Z:-}"', ""), ("${Z:-a:b-c}", "a:b-c"), ("${E}", None),
        ('"${E:-d}"', ""),  # empty is there
        ("$${A}", "${A}"), ("$$${A}", "$${A}"), ("$A", "$A"), ("a$b", "a$b"), ("$", "$"),
        # A plain variable is typed by what it holds, a quoted one is text.
        ("${N}", 12), ('"${N}"', "12"), ("${N}s", "12s"), ("${T}", True), ("${Z:-2.5}", 2.5),
        # What it holds is no YAML and holds no further variables.
        ("${Y}", "[1, {a: b}] # c"), ("${V}", "${A}"), ("${L}", "a\nb: c"),
    ],
)  # fmt: skip
def test_variables_are_values(yaml: str, expected: Any) -> None:
    got = value(f"k: {yaml}", A="x", N="12", T="true", E="", Y="[1, {a: b}] # c", V="${A}",
                L="a\nb: c")["k"]  # fmt: skip
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("k: a${NO}", "1:5: NO is not set; set it in the environment, or write ${NO:-default}"),
        ('k: "a${NO}"', "1:6: NO is not set; set it in the environment, or write ${NO:-default}"),
        ("k: ${}", "1:4: write ${NAME} or ${NAME:-default}; $${ stands for a plain ${"),
        ("k: ${1A}", "1:4: write ${NAME} or ${NAME:-default}; $${ stands for a plain ${"),
        ("k: ${A-x}", "1:4: write ${NAME} or ${NAME:-default}; $${ stands for a plain ${"),
        ("k: ${A", "1:4: write ${NAME} or ${NAME:-default}; $${ stands for a plain ${"),
        # Columns inside a text that is folded or escaped cannot be counted: where it begins.
        ('k: "\\t${NO}"', "1:4: NO is not set; set it in the environment, or write ${NO:-default}"),
        (
            "k: >\n  a\n  ${NO}",
            "1:4: NO is not set; set it in the environment, or write ${NO:-default}",
        ),
    ],
)
def test_variables_that_are_none_are_told_at_their_very_column(text: str, expected: str) -> None:
    assert told(text, A="x") == [expected]


def test_each_missing_variable_of_a_text_is_told() -> None:
    lines = told("k: ${A} ${B} ${A}")
    assert [line.split(": ")[0] for line in lines] == ["1:4", "1:9", "1:14"]


def test_keys_are_no_place_for_variables() -> None:
    assert value('"${A}": 1', A="x") == {"${A}": 1}


# Mappings, aliases, documents


def test_a_duplicate_key_is_told_at_the_second_and_the_first_one_counts() -> None:
    document = read("a: 1\nb: 2\n'a': 3\n", {})
    assert document.value == {"a": 1, "b": 2}
    (diagnostic,) = document.diagnostics
    assert (diagnostic.line, diagnostic.column) == (3, 1)
    assert diagnostic.message == "duplicate key a, first on line 1"


def test_only_texts_are_keys() -> None:
    assert value("1: a\ntrue: b\n~: c\n2020-01-01: d") == {
        "1": "a", "true": "b", "~": "c", "2020-01-01": "d",
    }  # fmt: skip
    assert told("? [a]\n: 1") == ["1:3: a key should be text"]
    assert told("? {a: 1}\n: 1") == ["1:3: a key should be text"]
    assert told("!!int 1: a") == ["1:1: a key should be text"]


def test_merge_keys_are_of_yaml_1_1() -> None:
    (line,) = told("b: &b {c: 1}\na:\n  <<: *b")
    assert line.startswith("3:3: merge keys (<<) are not YAML 1.2")
    assert value("'<<': 1") == {"<<": 1}


def test_an_alias_is_a_value_again() -> None:
    assert value("a: &x {b: [1]}\nc: *x\nd: [*x, *x]") == {
        "a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}, {"b": [1]}],
    }  # fmt: skip


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: &x {b: *x}", "a: &x {b: [{c: *x}]}"])
def test_nothing_is_inside_itself(text: str) -> None:
    (line,) = told(text)
    assert line.endswith("nested too deeply, or inside itself")


@pytest.mark.no_cover
def test_a_billion_laughs_are_too_many() -> None:
    text = "a0: &a0 [" + ",".join("1" * 10) + "]\n"
    for n in range(1, 10):
        text += f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n"
    (line,) = told(text)
    assert "more than 500000 values, aliases counted" in line


def test_the_depth_is_bounded_and_the_last_level_is_fine() -> None:
    assert value("[" * 64 + "]" * 64) is not None
    (line,) = told("[" * 65 + "]" * 65)
    assert line == "1:65: nested too deeply, more than 64 levels"


def test_the_depth_that_aliases_make_is_bounded_too() -> None:
    text = "a0: &a0 [" + "[" * 50 + "]" * 51 + "\na1: [" + "[" * 20 + "*a0" + "]" * 21
    assert [line.partition(": ")[2] for line in told(text)] == [
        "nested too deeply, or inside itself"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: the file is empty"),
        ("# only this\n", "1:1: the file is empty"),
        ("a: 1\n---\nb: 2", "2:1: not valid YAML: "),
        ("a: [1\n", "2:1: not valid YAML: "),
        ("a:\n\t- b", "2:1: not valid YAML: "),
        ("a: b: c", "1:5: not valid YAML: "),
        ("a: *nobody", "1:4: not valid YAML: "),
        ("a: @b", "1:4: not valid YAML: "),
        ("a: \x00", "1:4: not valid YAML: "),
        ("a: 1\nb: \x07", "2:4: not valid YAML: "),
        ("%YAML 3.0\n---\na: 1", "1:1: not valid YAML: "),
    ],
)
def test_what_is_no_document_is_told_at_its_place(text: str, expected: str) -> None:
    (line,) = told(text)
    assert line.startswith(expected)


def test_a_line_has_many_ends() -> None:
    assert value("a: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}
    assert value("\ufeffa: 1") == {"a": 1}
    assert value("---\na: 1\n...\n") == {"a": 1}


# Places


def test_every_key_and_value_has_its_place() -> None:
    document = read('a:\n  - x\n  - {b: "yz"}\n', {})
    assert document.places == {
        (): Place((1, 1), (1, 1), 0),
        ("a",): Place((1, 1), (2, 3), 0),
        ("a", 0): Place((2, 5), (2, 5), 5),
        ("a", 1): Place((3, 5), (3, 5), 0),
        ("a", 1, "b"): Place((3, 6), (3, 9), 10),
    }


@pytest.mark.parametrize(
    ("diagnostic", "place"),
    [
        (Diagnostic("m", ("a", "b")), (2, 6)),
        (Diagnostic("m", ("a", "b"), at_key=True), (2, 3)),
        (Diagnostic("m", ("a", "b"), offset=2), (2, 8)),
        (Diagnostic("m", ("a", "c"), offset=2), (3, 9)),  # behind the quote
        (Diagnostic("m", ("a", "nowhere", "deep")), (1, 1)),  # the nearest that is there
        (Diagnostic("m", ("a", "nowhere"), offset=5), (1, 1)),
        (Diagnostic("m", ("gone",)), (1, 1)),
        (Diagnostic("m", ("a", "v"), offset=3), (4, 6)),  # replaced: columns cannot be counted
    ],
)
def test_findings_get_the_nearest_place(diagnostic: Diagnostic, place: tuple[int, int]) -> None:
    document = read('a:\n  b: text\n  c: "text"\n  v: ${V}\n', {"V": "text"})
    placed = document.place(diagnostic)
    assert (placed.line, placed.column) == place
    assert (placed.message, placed.location) == (diagnostic.message, diagnostic.location)


def test_an_empty_document_has_a_place_all_the_same() -> None:
    placed = Document().place(Diagnostic("m", ("a", 5)))
    assert (placed.line, placed.column) == (1, 1)


@given(st.text(st.sampled_from("ab: {}[]\n -&*!|>'\"#$~,?%@\t<.0123é\r\x85\u2028"), max_size=60))
def test_any_text_is_a_value_or_told_why_not(text: str) -> None:
    document = read(text, {"a": "1"})
    for diagnostic in document.diagnostics:
        assert diagnostic.line >= 1
        assert diagnostic.column >= 1

    def finite(node: Any) -> bool:
        if isinstance(node, dict):
            return all(isinstance(key, str) and finite(child) for key, child in node.items())
        if isinstance(node, list):
            return all(map(finite, node))
        return not isinstance(node, float) or math.isfinite(node)

    assert finite(document.value)
