"""The official compliance suite of JMESPath, over our evaluation of expressions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import jmespath
import pytest
from jmespath.exceptions import (
    ArityError,
    JMESPathTypeError,
    LexerError,
    ParseError,
    UnknownFunctionError,
)

from gateway.expressions.evaluation import compile_tree
from gateway.expressions.jmes import ExpressionError, compile_expression

SUITE = sorted((Path(__file__).parent / "compliance").glob("*.json"))
ERRORS: dict[str, tuple[type[Exception], ...]] = {
    "syntax": (ParseError, LexerError),
    "invalid-arity": (ArityError,),
    "invalid-type": (JMESPathTypeError,),
    "invalid-value": (ValueError,),
    "unknown-function": (UnknownFunctionError,),
}
KNOWN_AT_LOAD = {"syntax", "invalid-arity", "unknown-function"}


class Case(NamedTuple):
    given: Any
    expression: str
    expected: dict[str, Any]

    @property
    def error(self) -> str | None:
        return self.expected.get("error")


def cases(file: Path) -> list[Case]:
    return [
        Case(group["given"], case["expression"], case)
        for group in json.loads(file.read_text())
        for case in group["cases"]
    ]


def written(value: Any) -> str:
    """Return `value` as JSON, which tells 1 from 1.0 and true and shows the order of members."""
    return json.dumps(value)


def test_the_suite_is_complete() -> None:
    assert {file.stem for file in SUITE} == {
        "basic", "boolean", "current", "escape", "filters", "functions", "identifiers", "indices",
        "literal", "multiselect", "pipe", "slice", "syntax", "unicode", "wildcard",
    }  # fmt: skip
    every = [case for file in SUITE for case in cases(file)]
    assert len(every) == 861
    assert {case.error for case in every} == {None, *ERRORS}


@pytest.mark.parametrize("file", SUITE, ids=lambda file: file.stem)
def test_a_tree_is_evaluated_as_the_suite_says(file: Path) -> None:
    for given, expression, expected in cases(file):
        if "error" in expected:
            with pytest.raises(ERRORS[expected["error"]]):
                compile_tree(jmespath.compile(expression).parsed)(given)
        else:
            value = compile_tree(jmespath.compile(expression).parsed)(given)
            assert written(value) == written(expected["result"]), expression


@pytest.mark.parametrize("file", SUITE, ids=lambda file: file.stem)
def test_an_expression_of_a_configuration_means_what_the_suite_says(file: Path) -> None:
    for case in cases(file):
        if case.expression == "to_array(false)":
            continue  # a bare word is a mistake here: test_mistakes.py
        if case.error in KNOWN_AT_LOAD:
            with pytest.raises(ExpressionError):
                compile_expression(case.expression)
        elif case.error:
            with pytest.raises(ERRORS[case.error]):
                compile_expression(case.expression)(case.given)
        else:
            value = compile_expression(case.expression)(case.given)
            assert written(value) == written(case.expected["result"]), case.expression
