from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.http.retry_after import parse_retry_after

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (b"120", 120.0),
        (" 7\t", 7.0),
        ("0", 0.0),
        ("007", 7.0),
        ("-5", 0.0),
        ("-" + "9" * 5000, 0.0),
        ("86401", 86400.0),
        ("9" * 5000, 86400.0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", 30.0),
        ("Sunday, 06-Nov-94 08:50:07 GMT", 30.0),
        ("Sun Nov  6 08:50:07 1994", 30.0),
        ("Sun, 06 Nov 1994 08:49:07 GMT", 0.0),
        ("Sun, 06 Nov 2094 08:49:37 GMT", 86400.0),
        ("Sun, 06 Nov 1994 09:50:07 +0100", 30.0),
    ],
)
def test_seconds_and_dates(value: str | bytes, seconds: float) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "value",
    ["", " ", "soon", "1.5", "1e3", "+5", "٣", "²", "5s", "0x10", "Sun, 99 Nov 1994 08:50:07 GMT",
     "Sun, 06 Nov 99999 08:50:07 GMT", b"\xff\xfe", "5, 6"],
)  # fmt: skip
def test_garbage_is_ignored(value: str | bytes) -> None:
    assert parse_retry_after(value, NOW) is None


@given(st.one_of(st.text(), st.binary(), st.integers().map(str)), st.floats(0, 4e9))
def test_whatever_comes_the_answer_is_bounded(value: str | bytes, now: float) -> None:
    seconds = parse_retry_after(value, now)
    assert seconds is None or 0 <= seconds <= 86400
