"""Compiled expressions, compared with the library's interpreter."""

from __future__ import annotations

import json
import re
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

import jmespath
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

from gateway.expressions import evaluation
from gateway.expressions.evaluation import compile_tree, is_true
from gateway.expressions.functions import JsonFunctions
from gateway.expressions.jmes import compile_expression
from gateway.expressions.reference import CutList, parse_reference

if TYPE_CHECKING:
    from collections.abc import Callable

OPTIONS = jmespath.Options(custom_functions=JsonFunctions())


def evaluated(expression: str) -> Callable[[Any], Any]:
    return compile_tree(jmespath.compile(expression).parsed)


def interpreted(expression: str) -> Callable[[Any], Any]:
    compiled = jmespath.compile(expression)
    return lambda value: compiled.search(value, OPTIONS)


def outcome(evaluate: Callable[[Any], Any], value: Any) -> str:
    """Return the value as JSON, or the class of the error and its message.

    An expression as a value is written as its address, wherever that appears.
    """
    try:
        found = json.dumps(evaluate(value), default=str)
    except (JMESPathError, ValueError, TypeError, ArithmeticError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
    return re.sub(r"<[\w.]+\._Expression object at 0x\w+>", "&", found)


SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from([0.0, -0.0, 1.0, 2.5, 10**30])
    | st.sampled_from(["", "a", "b", "1", "x y", "é"])
)  # fmt: skip
KEYS = st.sampled_from(["a", "b", "c", "x y"])
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.lists(st.fixed_dictionaries({"a": st.integers(-3, 3), "b": inner}), max_size=4)
        | st.lists(st.fixed_dictionaries({"a": st.sampled_from("uvw"), "c": inner}), max_size=4)
    ),
    max_leaves=16,
)
FIELDS = st.sampled_from(["a", "b", "c", '"x y"', "d"])
LITERALS = st.one_of(
    SCALARS.map(lambda value: f"`{json.dumps(value)}`"),
    st.sampled_from(["'a'", "''", "`[]`", "`{}`", "`[1, null, [2]]`", '`{"a": [{"b": 1}]}`']),
)
STEPS = st.one_of(
    FIELDS.map(".{}".format),
    st.sampled_from(
        ["[0]", "[-1]", "[7]", "[*]", "[]", ".*", "[::-1]", "[1:]", "[:2]", "[::0]", "[::2]"]
    ),
    st.tuples(FIELDS, FIELDS).map(lambda two: f".{{x: {two[0]}, y: {two[1]}}}"),
    st.tuples(FIELDS, FIELDS).map(lambda two: f".[{two[0]}, {two[1]}]"),
)
ARGUMENTS = {name: spec["signature"] for name, spec in Functions.FUNCTION_TABLE.items()}


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Combine expressions; each remains an operand, by its parentheses where it needs them."""
    both = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, STEPS).map("".join),
        st.tuples(inner, inner).map(lambda two: f"{two[0]}[?{two[1]}]"),
        st.tuples(inner, inner, FIELDS).map(lambda three: f"{three[0]}[?{three[1]}].{three[2]}"),
        st.tuples(inner, st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "&&", "||", "|"]), inner)
        .map(lambda three: f"({' '.join(three)})"),
        inner.map(lambda one: f"(!{one})"),
        both.map(lambda two: f"{{x: {two[0]}, y: {two[1]}, x: @}}"),
        both.map(lambda two: f"[*].{{x: {two[0]}, y: {two[1]}}}"),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: f"[{', '.join(some)}]"),
        st.sampled_from(sorted(ARGUMENTS)).flatmap(lambda name: call(name, inner)),
    )  # fmt: skip


def call(name: str, inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Write a call with as many arguments as the function takes, or one more, or none."""
    wanted = [
        inner.map("&{}".format) if "expref" in parameter["types"] else inner
        for parameter in ARGUMENTS[name]
    ]
    shapes = st.sampled_from([wanted, wanted, wanted, [*wanted, inner], []])
    arguments = shapes.flatmap(lambda some: st.tuples(*some)) | st.tuples(inner, inner)
    return arguments.map(lambda some: f"{name}({', '.join(some)})")


EXPRESSIONS = st.recursive(
    FIELDS
    | st.just("@")
    | LITERALS
    | FIELDS.map("@.{}".format)
    | st.just("&a")
    | st.just("nope(a)"),
    larger,
    max_leaves=8,
)


@given(EXPRESSIONS, DOCUMENTS)
@example("[].{x: a, y: b}", [{"a": 1}, None, 3, [[4], {"b": None}], {}])
@example("[?(a < 'v')].a", [{"a": "u"}, {"a": 1}])
@example("[?sum(@) || `1`].abs(@)", [["a"], "a"])
def test_values_and_errors_are_those_of_the_library(expression: str, document: Any) -> None:
    try:
        expected = interpreted(expression)
    except JMESPathError:
        return  # not an expression: the parser is the library's
    assert outcome(evaluated(expression), document) == outcome(expected, document)


@pytest.mark.parametrize(
    ("expression", "document"),
    [
        ("@[?abs(b)].ceil(a)", [{"a": "x", "b": 1}, {"a": 1, "b": "y"}]),
        ("[*].{x: abs(a), y: ceil(b)}", [{"a": 1, "b": "y"}, {"a": "x", "b": 1}]),
        ("[*].[abs(a), ceil(b)]", [{"a": "x", "b": "y"}]),
        ("nope(abs(@))", "x"),
        ("abs(ceil(@), floor(@))", 1),
    ],
)
def test_the_first_error_is_the_one_the_library_meets_first(expression: str, document: Any) -> None:
    expected = outcome(interpreted(expression), document)
    assert expected.split(":")[0].endswith("Error")
    assert outcome(evaluated(expression), document) == expected


@pytest.mark.parametrize(
    ("expression", "document", "value"),
    [
        ("@ == `1`", True, False),
        ("@ == `0`", False, False),
        ("@ != `false`", 0.0, True),
        ("@ == `1.0`", 1, True),
        ("@ < `2`", True, None),
        ("@ < 'b'", "a", True),
        ("!@", 0, False),
        ("!@", -0.0, False),
        ("!@", {}, True),
        ("@ || 'none'", 0, 0),
        ("@ && 'some'", 0, "some"),
        ("a && b", {"a": "", "b": 1}, ""),
        ("avg(@)", [], None),
        ("max_by(@, &a)", [], None),
        ("to_number('1e21')", None, 1e21),
        ("[?@]", [0, "", None, False, True, [], {}, [0]], [0, True, [0]]),
        ("[?@ == `null`]", [1, None], []),
        ("[]", [[1, None], None, [[2]]], [1, [2]]),
        ("*", {"a": None, "b": 0}, [0]),
        ("*.a", [{"a": 1}], None),
        ("{x: a}", None, None),
        ("[a]", 1, [None]),
        ("@[1000000000000000000000000000000]", [1], None),
    ],
)
def test_corners_of_the_language(expression: str, document: Any, value: Any) -> None:
    assert json.dumps(evaluated(expression)(document)) == json.dumps(value)
    assert json.dumps(interpreted(expression)(document)) == json.dumps(value)


def test_a_part_of_a_list_is_a_list() -> None:
    cut = CutList([{"a": 1}, {"a": 2}], total=9)
    assert evaluated("l[*].a")({"l": cut}) == [1, 2]
    assert outcome(evaluated("length(l)"), {"l": cut}) == outcome(
        interpreted("length(l)"), {"l": cut}
    )


def test_every_kind_of_node_is_compiled() -> None:
    visited = {name.removeprefix("visit_") for name in dir(TreeInterpreter) if "visit_" in name}
    assert set(evaluation._COMPILERS) == visited - {"key_val_pair"}  # a part of its object


QUICK = [
    "[*]",
    "[]",
    "[*].id",
    "[].{id: id, title: title}",
    "@[:2000].{id: id, title: title}",
    "{rows: [*].{id: id}, ids: [].id}",
]


@pytest.mark.parametrize("expression", QUICK)
def test_fields_of_a_list_take_no_call_for_each_element(expression: str) -> None:
    few = [{"id": number, "title": "t"} for number in range(10)]
    many = few * 100
    evaluate = evaluated(expression)
    assert outcome(evaluate, many) == outcome(interpreted(expression), many)
    assert calls(evaluate, many) == calls(evaluate, few)


def test_a_condition_and_a_function_take_few_calls_for_each_element() -> None:
    elements = [{"id": number, "title": "t", "on": True} for number in range(100)]
    # The generator, the condition, the truth of its result; and the two fields that it compares.
    assert calls(evaluated("[?on].id"), elements) < 100 * 3 + 10
    assert calls(evaluated("[?id == `-1`].id"), elements) < 100 * 7
    # The arguments, each of them, and the function: the library's checks took a dozen more.
    assert calls(evaluated("[*].starts_with(title, 't')"), elements) < 100 * 6


def calls(evaluate: Callable[[Any], Any], value: Any) -> int:
    """Return how many frames of Python the evaluation enters."""
    entered = 0

    def profile(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal entered
        entered += event == "call"

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        evaluate(value)
    finally:
        sys.setprofile(before)
    return entered


def test_no_expression_visits_the_library_s_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(TreeInterpreter, "visit_field")
    value = {"s": [{"id": 2}, {"id": 1}]}
    with pytest.raises(NotImplementedError):
        interpreted("s")(value)
    assert compile_expression("sort_by(s, &id)[0].id")(value) == 1
    assert compile_expression("map(&id, s[?id])")(value) == [2, 1]
    assert parse_reference("s[*].id").find(value) == [2, 1]


@pytest.mark.parametrize(
    ("value", "true"),
    [(None, False), (False, False), ("", False), ([], False), ({}, False),
     (0, True), (0.0, True), (True, True), ("0", True), ([None], True), ({"a": None}, True)],
)  # fmt: skip
def test_truth_is_that_of_the_specification(value: Any, true: bool) -> None:
    assert is_true(value) is true
    assert evaluated("@ && `1` || `0`")(value) == int(true)
