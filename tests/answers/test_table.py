from __future__ import annotations

import csv
import io
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.table import TooLargeError, written

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALAR = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT


def table(rows: list[Any]) -> str:
    return b"".join(written("x", rows)).decode()


def cells(rows: list[Any]) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table(rows), newline=""), strict=True))


def test_a_list_of_objects_has_a_column_for_each_key() -> None:
    rows = [{"id": 1, "name": "Ada"}, {"name": 'B, "b"', "extra": [1, {"a": None}]}, None]
    assert table(rows) == (
        '"id","name","extra"\r\n1,"Ada",\r\n,"B, ""b""","[1,{""a"":null}]"\r\n,,\r\n'
    )


def test_another_list_has_one_column() -> None:
    assert table([1, 2.5, True, None, "a", [1]]) == (
        '"x"\r\n1\r\n2.5\r\ntrue\r\n""\r\n"a"\r\n"[1]"\r\n'
    )


def test_an_empty_list_has_its_header() -> None:
    assert table([]) == '"x"\r\n'


@pytest.mark.parametrize(
    "first",
    ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", " =", "\u3000=",
     "\xa0+", "\x00@", "\x7f-", "\ufeff=", "\u200b=", "\u2060 \u200d+", "\xad=", "\u202e=", " \t"],
)  # fmt: skip
def test_text_that_a_spreadsheet_would_run_is_defused(first: str) -> None:
    text = first + "cmd|' /C calc'!A0"
    assert cells([{"a": text, text: 1}]) == [["a", "'" + text], ["'" + text, "1"]]
    assert cells([text]) == [["x"], ["'" + text]]


def test_a_negative_number_is_a_number() -> None:
    assert cells([{"a": -5, "b": -0.5}]) == [["a", "b"], ["-5", "-0.5"]]


@pytest.mark.parametrize("text", ["", " ", "a=1", "\ufeffa", "'=1", "1-2"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert cells([{"a": text, "b": 1}]) == [["a", "b"], [text, "1"]]


def test_text_with_another_separator_stays_in_its_cell() -> None:
    assert table([{"a;b": "x;=1+1"}]) == '"a;b"\r\n"x;=1+1"\r\n'


def test_a_table_never_begins_with_a_byte_order_mark() -> None:
    assert table([{"\ufeffid": 1}]) == '"\ufeffid"\r\n1\r\n'


def test_a_table_has_limits() -> None:
    wide = {f"k{n}": n for n in range(1000)}
    assert len(cells([wide] * 100)) == 101
    with pytest.raises(TooLargeError, match="more than 100000 cells"):
        written("x", [wide] * 101)
    with pytest.raises(TooLargeError, match="more than 1000 columns"):
        written("x", [wide, {"more": 1}])
    with pytest.raises(TooLargeError, match="more than 100000 cells"):
        written("x", [0] * 100_001)


def test_parts_of_wide_tables_have_fewer_rows() -> None:
    wide = {f"k{n}": n for n in range(1000)}
    assert [part.count(b"\r\n") for part in written("x", [wide] * 12)] == [6, 5, 2]


def test_a_long_table_comes_in_parts() -> None:
    parts = list(written("x", list(range(1200))))
    assert [part.count(b"\r\n") for part in parts] == [501, 500, 200]


@pytest.mark.no_cover
@given(st.lists(st.dictionaries(TEXT, SCALAR | st.lists(SCALAR, max_size=2), max_size=4)))
def test_every_value_can_be_read_again(rows: list[dict[str, Any]]) -> None:
    if not any(rows):
        return
    header, *found = cells(rows)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    assert len(header) == len(keys)
    assert len(found) == len(rows)
    for row, read in zip(rows, found, strict=True):
        for key, text in zip(keys, read, strict=True):
            value = row.get(key)
            if isinstance(value, str):
                assert text in {value, f"'{value}"}
            else:
                assert text == ("" if value is None else orjson.dumps(value).decode())
            assert not text.strip().startswith(("=", "+", "@"))
