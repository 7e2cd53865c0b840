from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import UpstreamPayload, UpstreamStatus
from gateway.offload import UNDECODED
from gateway.transport import RawAnswer
from gateway.upstreams.http.decode import Decoder
from gateway.values.provenance import FETCHED
from gateway.values.restrictions import Restriction
from tests.offload.lanes import Lanes

JSON = [(b"content-type", b"application/json; charset=utf-8")]


def decoder(**options: Any) -> Decoder:
    return Decoder("up", max_depth=options.pop("max_depth", 8), now=lambda: 0.0, **options)


def answer(body: bytes, status: int = 200, headers: Any = JSON) -> RawAnswer:
    return RawAnswer(status, headers, body)


async def test_a_good_answer_is_decoded_and_written_anew() -> None:
    response = await decoder().admit(answer(b'{"a": [1, 2.5, null, true, "x"]}'))
    assert response.value == {"a": [1, 2.5, None, True, "x"]}
    assert response.body == b'{"a":[1,2.5,null,true,"x"]}'
    assert response.status == 200


async def test_of_duplicate_keys_the_last_one_counts() -> None:
    response = await decoder().admit(answer(b'{"a":1,"a":2}'))
    assert (response.value, response.body) == ({"a": 2}, b'{"a":2}')


@pytest.mark.parametrize("status", [204, 205])
async def test_no_content_is_null(status: int) -> None:
    assert (await decoder().admit(answer(b"", status, []))).value is None


async def test_no_content_meets_the_schema_too() -> None:
    nothing = answer(b"", 204, [])
    nullable = {"type": ["object", "null"]}
    assert (await decoder(schema=nullable).admit(nothing)).value is None
    with pytest.raises(UpstreamPayload, match="does not meet its schema"):
        await decoder(schema={"type": "object"}).admit(nothing)


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"NaN", b"[Infinity]", b'"\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b"1e999",
     b"[1,]", b"{'a':1}", b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2 + b"1", b"01", b"1 2", b"[" * 100_000, b'{"a":1', b"\x00"],
)  # fmt: skip
async def test_what_is_no_strict_json_is_refused(body: bytes) -> None:
    with pytest.raises(UpstreamPayload) as caught:
        await decoder().admit(answer(body))
    assert caught.value.upstream == "up"
    assert not caught.value.retryable


async def test_depth_is_bounded_and_width_is_not() -> None:
    deep = b"[" * 9 + b"]" * 9
    with pytest.raises(UpstreamPayload, match="8 levels"):
        await decoder().admit(answer(deep))
    assert (await decoder().admit(answer(b"[" * 8 + b"]" * 8))).value
    wide = b"[" + b",".join([b'{"a":[1]}'] * 1000) + b"]"
    assert len((await decoder().admit(answer(wide))).value) == 1000
    assert (await decoder().admit(answer(b'"[[[[[[[[[[[["'))).value == "[[[[[[[[[[[["


async def test_a_large_answer_goes_elsewhere_and_a_small_one_costs_no_look() -> None:
    lanes = Lanes()
    admitting = decoder(offload=lanes.offload)
    assert (await admitting.admit(answer(b"[" + b"1," * 100_000 + b"1]"))).value[0] == 1
    assert lanes.slow.jobs == []
    response = await admitting.admit(answer(b"[" + b"1," * 200_000 + b"1]"))
    assert (response.value, response.body) == (UNDECODED, b"[" + b"1," * 200_000 + b"1]")
    assert lanes.slow.jobs == ["admit"]


async def test_a_large_answer_is_judged_like_a_small_one() -> None:
    large = b"[" + b",".join([b'{"a":[1]}'] * 60_000) + b"]"
    assert len((await decoder().admit(answer(large))).value) == 60_000
    with pytest.raises(UpstreamPayload):
        await decoder().admit(answer(large[:-1]))


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"Application/JSON;charset=UTF-8", b'application/json; charset="utf-8"',
     b"application/problem+json", b"text/json", b"application/json; charset=us-ascii"],
)  # fmt: skip
async def test_types_that_are_json(content_type: bytes) -> None:
    got = await decoder().admit(answer(b"1", headers=[(b"content-type", content_type)]))
    assert got.value == 1


async def test_an_answer_without_a_type_is_taken_for_json() -> None:
    assert (await decoder().admit(answer(b"1", headers=[(b"x", b"y")]))).value == 1


async def test_a_byte_order_mark_is_ignored_and_not_written_again() -> None:
    response = await decoder().admit(answer(b"\xef\xbb\xbf[1]"))
    assert (response.value, response.body) == ([1], b"[1]")


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        (b"text/html", "the content type is text/html; add `content_types: [text/html]` to the upstream to allow it"),
        (b"Text/Plain; charset=utf-8", "the content type is text/plain; add `content_types: [text/plain]` to the"),
        (b"application/jsonp", "add `content_types: [application/jsonp]`"),
        (b"image/png\xff", "the content type is image/png\\xff; add `content_types: any` to the upstream"),
        (b"x" * 5000, "add `content_types: any`"),
        (b"application/json; charset=UTF-16",
         'the charset is utf-16, not UTF-8; add `content_types: ["application/json; charset=utf-16"]` to the'),
        (b"application/json; charset=utf-7", "the charset utf-7 is not supported"),
    ],
)  # fmt: skip
async def test_an_answer_of_another_type_is_refused_with_the_way_to_allow_it(
    content_type: bytes, said: str
) -> None:
    with pytest.raises(UpstreamPayload) as caught:
        await decoder().admit(answer(b"1", headers=[(b"content-type", content_type)]))
    assert said in caught.value.detail
    assert len(caught.value.detail) < 300


@pytest.mark.parametrize(
    ("allowed", "content_type"),
    [(["text/html"], b"text/html"), (["Text/HTML"], b"text/html; charset=utf-8"),
     (["text/html"], b"application/json"), ("any", b"text/html"), ("any", b"\xff")],
)  # fmt: skip
async def test_a_content_type_that_the_upstream_allows_is_let_in(
    allowed: Any, content_type: bytes
) -> None:
    admitting = decoder(content_types=allowed)
    assert (
        await admitting.admit(answer(b"1", headers=[(b"content-type", content_type)]))
    ).value == 1


@pytest.mark.parametrize(
    ("allowed", "charset", "body"),
    [
        ("any", b"iso-8859-1", '["\xe9"]'.encode("latin-1")),
        (["application/json"], b'"ISO-8859-1"', '["\xe9"]'.encode("latin-1")),
        (["application/json; charset=latin1"], b"iso-8859-1", '["\xe9"]'.encode("latin-1")),
        ("any", b"utf-16", '["\xe9"]'.encode("utf-16")),
        ("any", b"utf-16", '["\xe9"]'.encode("utf-16-le")),
        ("any", b"utf-16", '["\xe9"]'.encode("utf-16-be")),
        ("any", b"utf-16le", '\ufeff["\xe9"]'.encode("utf-16-le")),
        ("any", b"utf-32", '["\xe9"]'.encode("utf-32-be")),
        ("any", b"windows-1252", '["\xe9"]'.encode("cp1252")),
    ],
)  # fmt: skip
async def test_a_declared_charset_is_transcoded(allowed: Any, charset: bytes, body: bytes) -> None:
    field = [(b"content-type", b"application/json; charset=" + charset)]
    response = await decoder(content_types=allowed).admit(answer(body, headers=field))
    assert (response.value, response.body) == (["\xe9"], '["\xe9"]'.encode())


@pytest.mark.parametrize(
    ("allowed", "charset", "body", "said"),
    [
        ("any", b"utf-16le", b'["\x00', "not in the charset that it declares"),
        ("any", b"utf-16le", '"\ud800"'.encode("utf-16-le", "surrogatepass"), "not in the charset"),
        ("any", b"shift_jis", b'["\xff"]', "not in the charset"),
        ("any", b"unicode_escape", b"1", "is not supported"),
        ("any", b"rot13", b"1", "is not supported"),
        (["application/json; charset=utf-16"], b"iso-8859-1", b"1", ", not UTF-8"),
        (["text/html"], b"iso-8859-1", b"1", ", not UTF-8"),
        ("any", b"iso-8859-1", b'"' + b"\xe9" * 60 + b'"', "more than 100 bytes in UTF-8"),
    ],
)  # fmt: skip
async def test_what_is_not_in_its_charset_or_in_an_unknown_one_is_refused(
    allowed: Any, charset: bytes, body: bytes, said: str
) -> None:
    field = [(b"content-type", b"application/json; charset=" + charset)]
    with pytest.raises(UpstreamPayload) as caught:
        await decoder(content_types=allowed, max_body=100).admit(answer(body, headers=field))
    assert said in caught.value.detail


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(301, False), (304, False), (400, False), (404, False), (408, True), (429, True),
     (500, True), (501, False), (502, True), (503, True), (504, True), (999, False)],
)  # fmt: skip
async def test_a_status_that_is_no_success_is_an_error(status: int, *, retryable: bool) -> None:
    with pytest.raises(UpstreamStatus) as caught:
        await decoder().admit(answer(b'{"a":1}', status))
    assert caught.value.status == status
    assert caught.value.retryable is retryable
    assert caught.value.retry_after is None


async def test_a_redirect_is_not_followed_and_says_where_it_points() -> None:
    location = [(b"location", b"https://b.example/v2/x?token=1")]
    with pytest.raises(UpstreamStatus) as caught:
        await decoder().admit(answer(b"", 301, location))
    assert caught.value.detail == (
        "answered with status 301, a redirect to https://b.example/v2/x; redirects are not "
        "followed: write that address in the configuration"
    )
    with pytest.raises(UpstreamStatus, match="^answered with status 404$"):
        await decoder().admit(answer(b"", 404, location))


@pytest.mark.parametrize(
    ("field", "seconds"),
    [(b"7", 7.0), (b"Thu, 01 Jan 1970 00:00:30 GMT", 30.0), (b"soon", None), (b"-3", 0.0)],
)
async def test_retry_after_is_read(field: bytes, seconds: float | None) -> None:
    with pytest.raises(UpstreamStatus) as caught:
        await decoder().admit(answer(b"", 503, [(b"retry-after", field)]))
    assert caught.value.retry_after == seconds


async def test_a_schema_is_held() -> None:
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
    strict = decoder(schema=schema)
    assert (await strict.admit(answer(b'{"id":1}'))).value == {"id": 1}
    with pytest.raises(UpstreamPayload, match="at /id"):
        await strict.admit(answer(b'{"id":"' + b"x" * 500 + b'"}'))


async def test_what_the_upstream_forbids_is_read() -> None:
    fields = [(b"content-type", b"application/json"), (b"cache-control", b"private")]
    admitted = await decoder().admit(answer(b"1", headers=fields))
    assert admitted.provenance.restrictions == Restriction.PRIVATE


async def test_answers_without_restrictions_share_one_provenance() -> None:
    assert (await decoder().admit(answer(b"1"))).provenance is FETCHED
