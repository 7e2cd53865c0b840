from __future__ import annotations

import pytest

from gateway.upstreams.http.config import HttpUpstreamConfig
from gateway.values.content_type import (
    CHARSETS,
    ContentTypeError,
    ContentTypes,
    parse_entry,
)

BASE = "http://a.test"


@pytest.mark.parametrize(
    ("entry", "read"),
    [
        ("text/html", ("text/html", "any")),
        (" Text/HTML ", ("text/html", "any")),
        ("application/json; charset=ISO-8859-1", ("application/json", "latin_1")),
        ('application/json;charset="utf-8"', ("application/json", "")),
    ],
)
def test_an_entry_names_a_media_type_and_perhaps_a_charset(
    entry: str, read: tuple[str, str]
) -> None:
    assert parse_entry(entry) == read
    assert HttpUpstreamConfig(base_url=BASE, content_types=[entry]).content_types == [entry]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("html", "is not a media type"),
        ("*/*x/y", "is not a media type"),
        ("text/html; q=1", "has a parameter other than charset"),
        ("text/html; charset=utf-7", "is not supported"),
        ("text/html; charset=base64", "is not supported"),
    ],
)
def test_an_entry_that_could_never_match_is_refused_at_load(entry: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        HttpUpstreamConfig(base_url=BASE, content_types=[entry])


def test_any_is_the_only_word_beside_a_list() -> None:
    assert HttpUpstreamConfig(base_url=BASE, content_types="any").content_types == "any"
    with pytest.raises(ValueError, match="any"):
        HttpUpstreamConfig.model_validate({"base_url": BASE, "content_types": "all"})


def test_every_charset_in_the_table_is_a_text_codec() -> None:
    for codec in set(CHARSETS.values()):
        assert "[1]".encode(codec).decode(codec) == "[1]"


def test_the_advice_in_an_error_is_an_entry_that_lets_the_answer_in() -> None:
    for field in (b"text/html", b"application/json; charset=shift_jis", b"application/x.y+z"):
        with pytest.raises(ContentTypeError) as caught:
            ContentTypes().codec(field)
        advice = str(caught.value).split("[")[1].split("]")[0].strip('"')
        ContentTypes([advice]).codec(field)
