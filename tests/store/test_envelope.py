from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.freshness import Entry
from gateway.restrictions import Restriction
from gateway.store.envelope import _checksum, open_envelope, seal

FIELDS = ("key", "body", "status", "stored_at", "as_of", "fresh_until", "revalidate_until",
          "error_until", "cost", "mark", "restrictions")  # fmt: skip

moments = st.floats(allow_nan=False, allow_infinity=False)
bodies = st.sampled_from([b"null", b"[1,2]", b'{"a":"' + b"x" * 500 + b'"}', b'"\xc3\xa4"'])


@st.composite
def entries(draw: Any, status: int | None = None) -> Entry:
    status = draw(st.sampled_from([200, 203, 204, 404])) if status is None else status
    body = b"" if status == 404 else draw(bodies)
    return Entry(
        draw(st.text("0123456789abcdef", max_size=40)), body, None, status=status,
        stored_at=draw(moments), as_of=draw(moments), fresh_until=draw(moments),
        revalidate_until=draw(moments), error_until=draw(moments), cost=draw(moments),
        mark=draw(st.integers(0, 2**62)),
        restrictions=Restriction(draw(st.integers(0, sum(Restriction)))),
    )  # fmt: skip


def fields(entry: Entry) -> list[Any]:
    return [getattr(entry, field) for field in FIELDS]


@given(entries())
def test_what_is_sealed_is_opened_the_same(entry: Entry) -> None:
    opened = open_envelope(entry.key, seal(entry))
    assert opened is not None
    assert fields(opened) == fields(entry)
    assert opened.response is None or opened.response.restrictions == entry.restrictions


@given(entries(), st.data())
@settings(max_examples=300)
def test_a_truncated_or_longer_envelope_is_none(entry: Entry, data: Any) -> None:
    sealed = seal(entry)
    cut = data.draw(st.integers(0, len(sealed) - 1))
    assert open_envelope(entry.key, sealed[:cut]) is None
    assert open_envelope(entry.key, sealed + data.draw(st.binary(min_size=1, max_size=9))) is None


@given(entries(), st.data())
@settings(max_examples=300)
def test_a_flipped_bit_makes_it_none(entry: Entry, data: Any) -> None:
    sealed = bytearray(seal(entry))
    for _ in range(data.draw(st.integers(1, 3))):
        bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
        sealed[bit // 8] ^= 1 << (bit % 8)
    if bytes(sealed) != seal(entry):
        assert open_envelope(entry.key, bytes(sealed)) is None


@given(entries(), st.text("0123456789abcdef", max_size=40))
def test_an_envelope_of_another_key_is_none(entry: Entry, key: str) -> None:
    assert (open_envelope(key, seal(entry)) is None) == (key != entry.key)


@given(st.binary(max_size=200))
def test_rubbish_is_none(data: bytes) -> None:
    assert open_envelope("k", data) is None


def test_a_sealed_payload_that_is_no_json_is_none() -> None:
    good = Entry("k", b"{", None, status=200, stored_at=0, as_of=0, fresh_until=0,
                 revalidate_until=0, error_until=0, cost=0, mark=0)  # fmt: skip
    assert open_envelope("k", seal(good)) is None


@pytest.mark.parametrize("version", [0, 1, 2, 4])
def test_another_version_is_none_even_when_it_is_whole(version: int) -> None:
    good = Entry("k", b"1", 1, status=200, stored_at=0, as_of=0, fresh_until=0,
                 revalidate_until=0, error_until=0, cost=0, mark=0)  # fmt: skip
    sealed = seal(good)
    assert open_envelope("k", sealed) is not None
    assert open_envelope("k", b"AGWE" + bytes([version]) + sealed[5:]) is None


def test_the_format_is_what_its_description_says() -> None:
    entry = Entry("key", b"[1]", [1], status=200, stored_at=2, as_of=1, fresh_until=3,
                  revalidate_until=4, error_until=5, cost=6, mark=7,
                  restrictions=Restriction.NO_CACHE | Restriction.VARIES)  # fmt: skip
    rest = struct.pack(">6dqHBH", 1, 2, 3, 4, 5, 6, 7, 200, 36, 3) + b"key[1]"
    assert seal(entry) == b"AGWE\x03" + _checksum(rest) + rest
