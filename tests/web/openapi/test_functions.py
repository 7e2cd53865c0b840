from __future__ import annotations

from typing import Any

import pytest

from gateway.web.openapi.functions import Functions, array_of
from gateway.web.openapi.schema import NEVER, NULL
from gateway.web.openapi.shapes import Shapes

INTEGER = {"type": "integer"}
STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("name", "given", "result"),
    [
        ("length", [STRING], {"type": "integer", "minimum": 0}),
        ("abs", [INTEGER], INTEGER),
        ("max", [array_of(INTEGER, 1)], INTEGER),
        ("max", [array_of(INTEGER)], {"anyOf": [INTEGER, NULL]}),
        ("to_array", [STRING], array_of(STRING, 1, 1)),
        ("type", [INTEGER], {"type": "string", "enum": ["number"]}),
        ("not_null", [NULL, STRING], STRING),
        ("no_such_function", [STRING], {}),
    ],
)
def test_the_type_of_a_result_follows_from_the_arguments(
    name: str, given: list[Any], result: Any
) -> None:
    assert Functions(Shapes()).result(name, given) == result


def test_an_array_of_nothing_is_empty() -> None:
    assert array_of(NEVER, 3) == {"type": "array", "maxItems": 0}
    assert array_of({}, 1, 2) == {"type": "array", "minItems": 1, "maxItems": 2}


def test_arrays_keep_their_length_when_their_elements_change() -> None:
    functions = Functions(Shapes())
    assert functions.arrays(array_of(STRING, 1, 4), lambda _: INTEGER) == [array_of(INTEGER, 1, 4)]
