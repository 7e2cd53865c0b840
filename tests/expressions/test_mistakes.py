from __future__ import annotations

import jmespath
import pytest
from jmespath.exceptions import JMESPathError

from gateway.expressions.mistakes import bare_word, references_in, syntax_hint


@pytest.mark.parametrize(
    ("text", "word", "offset"),
    [
        ("q == null", "null", 5),
        ("null", "null", 0),
        ("a && true", "true", 5),
        ("[?on == false].id", "false", 8),
        ("{on: true}", "true", 5),
        ("a.[null]", "null", 3),
        ("not_null(a, null)", "null", 12),
        ("a.null == null", "null", 10),
    ],
)
def test_a_bare_word_is_found_where_a_literal_was_meant(text: str, word: str, offset: int) -> None:
    found = bare_word(text)
    assert found is not None
    assert f"write `{word}` in backticks" in found[0]
    assert found[1] == offset


@pytest.mark.parametrize(
    "text",
    ["q == `null`", "a.null", "@.true", "a[*].false.b", "{null: a}", "a.{true: b}", '"null"',
     "'null'", "nullable", "a == `true`", "not_null(a)"],
)  # fmt: skip
def test_a_name_is_a_name_where_it_can_be_nothing_else(text: str) -> None:
    jmespath.compile(text)
    assert bare_word(text) is None


@pytest.mark.parametrize(
    ("text", "hint", "offset"),
    [
        ("q == 5", "; write `5` in backticks for the number", 5),
        ("a[?b > -1.5]", "; write `-1.5` in backticks for the number", 7),
        ("q == 1e3 && a", "; write `1e3` in backticks for the number", 5),
        ("items.0.name", "; write [0] for an element of a list", 6),
        ("q = 'a'", "; write == to compare", 2),
        ("a..b", "", 2),
        ("q == '", "", 5),
        ("[", "", 1),
        ("", "", 0),
        ("q == " + "9" * 500, "", 5),
    ],
)
def test_a_syntax_error_comes_with_what_to_write(text: str, hint: str, offset: int) -> None:
    with pytest.raises(JMESPathError) as caught:
        jmespath.compile(text)
    assert syntax_hint(text, caught.value) == (hint, offset)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{id}", [("id", 0)]),
        ("a {id} b {user.name}", [("id", 2), ("user.name", 9)]),
        ("join('', ['{id}', x])", [("id", 11)]),
        ("{id: id}", []),
        ("[*].{id: id, name: user.name}", []),
        ("{other}", []),
        ("{ id }", []),
        ("{{id}}", []),
        ("{a: {id}}", [("id", 4)]),
        ("{id}} {", [("id", 0)]),
        ("{{id} {id}}", [("id", 1), ("id", 6)]),
        ("{}", []),
        ("{id", []),
    ],
)
def test_references_in_braces_are_found_by_known_names(
    text: str, found: list[tuple[str, int]]
) -> None:
    told = [(reference.text, offset) for reference, offset in references_in(text, {"id", "user"})]
    assert told == found
