from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.values.excerpt import LONGEST, SHORT, excerpt, one_line, shortened


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ""),
        (b'{"error": "no such user"}', '{"error": "no such user"}'),
        ("zu groß".encode(), "zu groß"),
        (b"a\nb\r\tc\x1b[31m\x00", r"a\nb\r\tc\x1b[31m\x00"),
        ("x\u2028y\u202ez".encode(), r"x\u2028y\u202ez"),
        (b"caf\xe9", "caf\ufffd"),
        (b"x" * LONGEST, "x" * LONGEST),
        (b"x" * (LONGEST + 1), "x" * (LONGEST - 1) + "…"),
        (b"\n" * 10_000, r"\n" * ((LONGEST - 1) // 2) + "…"),
        ("😀".encode() * LONGEST, "😀" * LONGEST),
        ("😀".encode() * 1000, "😀" * (LONGEST - 1) + "…"),
    ],
)
def test_an_excerpt_is_the_beginning_on_one_line(body: bytes, said: str) -> None:
    assert excerpt(body) == said


@given(st.binary(max_size=5000))
def test_an_excerpt_is_bounded_and_printable_whatever_it_is_of(body: bytes) -> None:
    said = excerpt(body)
    assert len(said) <= LONGEST
    assert said.isprintable()
    assert bool(said) == bool(body)


def test_an_escape_is_never_cut_in_two() -> None:
    assert one_line("ab\n", 4) == r"ab\n"
    assert one_line("abc\nd", 4) == "abc…"
    assert one_line("\ud800", 8) == r"\ud800"


@given(st.text(max_size=300), st.integers(20, 200))
def test_a_shortened_text_is_never_longer_than_it_may_be(text: str, longest: int) -> None:
    cut = shortened(text, longest)
    assert len(cut) <= longest
    assert (cut == text) is (len(text) <= longest)


def test_a_shortened_text_has_both_ends() -> None:
    said = shortened('"' + "x" * 60_000 + '" is longer than 10 characters')
    assert len(said) == SHORT
    assert said.startswith('"xxx')
    assert said.endswith('xxx" is longer than 10 characters')
