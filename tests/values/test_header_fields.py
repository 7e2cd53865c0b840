from __future__ import annotations

import pytest

from gateway.values.header_fields import HeaderFields, values_of

RAW = b"\r\nServer: nginx\r\nCache-Control:max-age=60 \r\nX-Vary: a\r\ncache-control:\t public\r\nX:\r\n"
FIELDS = [
    (b"server", b"nginx"),
    (b"cache-control", b"max-age=60"),
    (b"x-vary", b"a"),
    (b"cache-control", b"public"),
    (b"x", b""),
]


def fields() -> HeaderFields:
    return HeaderFields(RAW, RAW.lower())


def test_it_is_the_list_of_its_fields() -> None:
    assert fields() == FIELDS
    assert list(fields()) == FIELDS
    assert len(fields()) == 5
    assert fields()[0] == (b"server", b"nginx")
    assert fields()[3:] == FIELDS[3:]
    assert fields() != FIELDS[1:]
    assert fields() != 5
    assert repr(fields()) == repr(FIELDS)


def test_it_cannot_be_a_key_as_a_list_cannot() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(fields())


@pytest.mark.parametrize("name", [b"server", b"cache-control", b"vary", b"x-vary", b"x", b"nginx"])
def test_values_are_found_without_parsing_the_rest(name: bytes) -> None:
    found = fields()
    assert list(found.values(name)) == [value for each, value in FIELDS if each == name]
    assert found._fields is None
    assert list(values_of(found, name)) == list(values_of(FIELDS, name))
