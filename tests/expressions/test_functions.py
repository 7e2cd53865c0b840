from __future__ import annotations

from typing import Any

import pytest
from jmespath.exceptions import ArityError, JMESPathTypeError, UnknownFunctionError
from jmespath.functions import Functions

from gateway.expressions.functions import JsonFunctions, expression_value

ONE_OF_EACH = [None, True, 1, 1.5, "a", [], [1], ["a"], {}, expression_value(lambda value: value)]


class Watched(JsonFunctions):
    """Counts what the library checks."""

    def __init__(self) -> None:
        self.checked = 0

    def call_function(self, function_name: str, resolved_args: Any) -> Any:
        self.checked += 1
        return super().call_function(function_name, resolved_args)


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("starts_with", ["abc", "a"], True),
        ("contains", [["a"], "a"], True),
        ("length", [{}], 0),
        ("abs", [-1.5], 1.5),
        ("type", [None], "null"),
        ("sort_by", [[2, 1], expression_value(lambda value: value)], [1, 2]),
    ],
)
def test_types_that_fit_are_not_checked_again(name: str, arguments: list[Any], value: Any) -> None:
    functions = Watched()
    assert functions.bind(name, list)(arguments) == value
    assert functions.checked == 0


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [("sum", [[1, 2]], 3), ("join", ["-", ["a", "b"]], "a-b"), ("not_null", [None, 1], 1),
     ("merge", [{"a": 1}, {"b": 2}], {"a": 1, "b": 2})],
)  # fmt: skip
def test_the_library_checks_elements_and_numbers_of_arguments(
    name: str, arguments: list[Any], value: Any
) -> None:
    functions = Watched()
    assert functions.bind(name, list)(arguments) == value
    assert functions.checked == 1


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("starts_with", ["abc", 1], JMESPathTypeError),
        ("starts_with", ["abc"], ArityError),
        ("abs", [True], JMESPathTypeError),
        ("length", [None], JMESPathTypeError),
        ("sum", [["a"]], JMESPathTypeError),
        ("map", [[1], [1]], JMESPathTypeError),
        ("nope", [], UnknownFunctionError),
    ],
)
def test_arguments_that_do_not_fit_are_the_library_s_errors(
    name: str, arguments: list[Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as expected:
        Functions().call_function(name, arguments)
    with pytest.raises(error) as caught:
        JsonFunctions().bind(name, list)(arguments)
    assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("name", sorted(Functions.FUNCTION_TABLE))
def test_a_type_fits_where_the_library_accepts_it(name: str) -> None:
    functions = Watched()
    library = Functions()
    parameters = library.FUNCTION_TABLE[name]["signature"]
    choices = [[one] for one in ONE_OF_EACH]
    if len(parameters) > 1:
        choices = [[one, other] for one in ONE_OF_EACH for other in ONE_OF_EACH]
    for arguments in choices:
        functions.checked = 0
        outcomes = []
        for call in (functions.bind(name, list), lambda given: library.call_function(name, given)):
            try:
                outcomes.append(repr(call(arguments)))
            except (JMESPathTypeError, TypeError, ValueError) as error:
                outcomes.append(repr(error))
        assert outcomes[0] == outcomes[1]
        if not functions.checked:
            library._validate_arguments(arguments, parameters, name)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "value",
    ["a", "é\n", ["é", {"b": 1.0, "a": [None, True]}], 1e22, 10**30, {"x y": "\u2028"}, object],
)
def test_a_value_is_written_as_the_library_writes_it(value: Any) -> None:
    expected = Functions().call_function("to_string", [value])
    assert JsonFunctions().call_function("to_string", [value]) == expected
