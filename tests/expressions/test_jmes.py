from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ExpressionFailed
from gateway.expressions.jmes import ExpressionError, compile_expression, names_read, search, shape


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("[", "Incomplete"),
        ("", "empty"),
        ("a..b", "Expecting"),
        ("'abc", "Bad jmespath"),
        ("lenght(@)", "there is no function lenght(), did you mean length?"),
        ("a[?nope(b)]", "there is no function nope()"),
        ("{x: [nope(@)]}", "there is no function nope()"),
        ("sort_by(a, &nope(@))", "there is no function nope()"),
        ("q == null", "null is the name of a field here; write `null` in backticks"),
        ("q == 5", "write `5` in backticks for the number"),
        ("length()", "length() takes 1 argument, not 0"),
        ("length(a, b)", "length() takes 1 argument, not 2"),
        ("contains(a)", "contains() takes 2 arguments, not 1"),
        ("merge()", "merge() takes 1 or more arguments, not 0"),
        ("!" * 200 + "a", "nested more than 64 levels deep"),
        ("(" * 5000 + "a" + ")" * 5000, "nested more than 64 levels deep"),
        ("a[" + "9" * 5000 + "]", ""),
    ],
)
def test_what_could_never_be_evaluated_is_refused(expression: str, why: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(expression)
    assert why.lower() in str(caught.value).lower()
    assert len(str(caught.value).splitlines()) <= 1


@pytest.mark.parametrize(
    ("expression", "value"),
    [("length(a)", 2), ("merge(o, o, o)", {"b": 1}), ("not_null(x, a)", [2, 1]), ("sort(a)", [1, 2]),
     ("a[::-1]", [1, 2]), ("!" * 40 + "x", False)],
)  # fmt: skip
def test_what_can_is_compiled(expression: str, value: Any) -> None:
    assert search(compile_expression(expression), {"a": [2, 1], "o": {"b": 1}}, "key") == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("length(secret)", "length() takes string or array or object, not number"),
        ("starts_with(name, secret)", "starts_with() takes string, not number"),
        ("join(name, [secret])", "join() takes array-string, not int"),
        ("sort([name, secret])", "sort() takes"),
        ("max_by(list, &name)", "`select` failed: it does not fit the value (TypeError)"),
        ("list[::0]", "`select` failed: it does not fit the value"),
    ],
)
def test_complaints_quote_nothing_of_the_value(expression: str, why: str) -> None:
    value = {"secret": 4711, "name": "hunter2", "list": [{"name": "hunter2"}, {"name": 4711}]}
    with pytest.raises(ExpressionFailed) as caught:
        shape(compile_expression(expression), value, "up")
    assert why in caught.value.detail
    assert "4711" not in caught.value.detail
    assert "hunter2" not in caught.value.detail
    assert caught.value.upstream == "up"


@pytest.mark.parametrize(
    ("expression", "names"),
    [("@.a", {"a"}), ("@ | a", {"a"}), ("@.a.b", {"a"}), ("@.a | b", {"a"}), ("a.b.c", {"a"}),
     ("@.a && b", {"a", "b"}), ("length(@.a)", {"a"}), ("a | @.b", {"a"}), ("@", set())],
)  # fmt: skip
def test_the_value_itself_leads_to_the_names_that_are_read(
    expression: str, names: set[str]
) -> None:
    assert names_read(expression) == names


@pytest.mark.parametrize(
    ("expression", "names"),
    [("a", {"a"}), ("a.b", set()), ("a.b.c", set()), ("a[0]", set()), ("a[*].b", set()),
     ("a[?b]", set()), ("a | b", {"a"}), ("a.b && a", {"a"}), ("length(a)", {"a"}), ("!(b.c)", set()),
     ("[a.b, c]", {"c"})],
)  # fmt: skip
def test_a_name_is_read_whole_where_there_is_no_path_into_it(
    expression: str, names: set[str]
) -> None:
    assert names_read(expression, whole=True) == names


NAMES = st.sampled_from(["a", "b", "@", "`1`", "'x'", "`[1, null]`", "`-1e400`"])


@pytest.mark.parametrize(("expression", "value"), [
    ("sum(@)", [1e308, 1e308]), ("avg(@)", [1e308, 1e308]), ("avg(@)", [-1e308, -1e308]),
])  # fmt: skip
def test_a_sum_that_overflows_is_no_value(expression: str, value: Any) -> None:
    with pytest.raises(ExpressionFailed, match="OverflowError"):
        search(compile_expression(expression), value, "select")


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("1.5", 1.5), ("1e999", None), ("nan", None), ("-inf", None)]
)
def test_only_what_json_has_is_a_number(text: str, number: float | None) -> None:
    assert search(compile_expression("to_number(@)"), text, "select") == number


@pytest.mark.parametrize("literal", ["NaN", "1e999", "[-Infinity]", '{"a": NaN}'])
def test_literals_are_json(literal: str) -> None:
    with pytest.raises(ExpressionError, match="a literal contains NaN or an infinite number"):
        compile_expression(f"a == `{literal}`")
    assert compile_expression('`{"a": [1e9]}`')(None) == {"a": [1e9]}


EXPRESSIONS = st.recursive(
    NAMES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([".a", "[0]", "[*]", "[]", "[::-1]", "[?a]", ".*"])).map("".join),
        st.tuples(inner, st.sampled_from([" | ", " && ", " || "]), inner).map("".join),
        st.tuples(inner, st.sampled_from(["<", "==", "!="]), inner).map(lambda t: f"({''.join(t)})"),
        st.tuples(
            st.sampled_from(
                ["abs", "avg", "ceil", "join", "keys", "length", "map", "max", "max_by", "merge", "min",
                 "not_null", "reverse", "sort", "sort_by", "sum", "to_array", "to_number", "to_string",
                 "type", "values"]
            ),
            st.lists(st.tuples(st.sampled_from(["", "&"]), inner).map("".join), min_size=1, max_size=2),
        ).map(lambda t: f"{t[0]}({', '.join(t[1])})"),
        st.tuples(inner, inner).map(lambda t: f"{{x: {t[0]}, y: [{t[1]}]}}"),
    ),
    max_leaves=8,
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@pytest.mark.no_cover
@given(EXPRESSIONS, VALUES)
def test_any_expression_gives_a_value_or_an_expression_failed_and_changes_nothing(
    expression: str, value: Any
) -> None:
    try:
        compiled = compile_expression(expression)
    except ExpressionError:
        return
    names_read(expression)
    before = copy.deepcopy(value)
    try:
        search(compiled, value, "when")
    except ExpressionFailed as error:
        assert error.detail.startswith("`when` failed: ")
    assert value == before
