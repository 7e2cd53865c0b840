from __future__ import annotations

import asyncio
import threading
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.models import CompressionConfig
from gateway.errors import ConfigError
from gateway.expressions.parameter import compile_parameter
from gateway.plan.load import loads
from gateway.web.compression import CODINGS, Coding, Compression, GzipStream, takes_text
from tests.decoding import decoded


def compression(**config: Any) -> Compression:
    return Compression(CompressionConfig.model_validate(config))


def name(coding: Coding | None) -> str | None:
    return None if coding is None else coding.name.decode()


@pytest.mark.parametrize(
    ("field", "chosen"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip;q=1.0, br;q=0.5, zstd;q=0", "gzip"),
        ("br ; q=0.9 ,gzip; q=0.8", "br"),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("identity", None),
        ("identity, gzip", "gzip"),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity;q=0", None),
        ("*", "gzip"),
        ("*;q=0", None),
        ("*;q=0.5, br", "br"),
        ("*, gzip;q=0", None),
        ("deflate", None),
        ("compress, sdch", None),
        ("", None),
        (",,;,", None),
        ("gzip;q=2", None),
        ("gzip;q=1.5", None),
        ("gzip;q=-1", None),
        ("gzip;q=nan", None),
        ("gzip;q=", None),
        ("gzip;", None),
        ("gzip;q=0.1234", None),
        ("gzip;level=9", None),
        ("gzip;q=0.5;q=0", None),
        ("gzip, gzip;q=0", None),
        ("gz ip", None),
        ("gzip\x00", None),
        ("gzip" + "," * 2000, None),
        ("a," * 40 + "gzip", None),
    ],
)
def test_the_coding_that_the_client_likes_best_is_chosen(field: str, chosen: str | None) -> None:
    assert name(compression().chosen(field.encode())) == chosen


def test_only_declared_codings_are_offered_and_the_first_of_equals_is_taken() -> None:
    some = compression(codings=["gzip", "br"])
    assert name(some.chosen(b"zstd, br, gzip")) == "gzip"
    assert name(some.chosen(b"zstd, br, gzip;q=0.5")) == "br"
    assert some.chosen(b"zstd") is None


@given(st.binary(max_size=200))
def test_any_field_is_read(field: bytes) -> None:
    coding = compression().chosen(field)
    assert coding is None or coding.name in field.lower() or b"*" in field


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS)
@pytest.mark.parametrize("size", [0, 1, 5000, 70_000, 1_200_000])
def test_what_is_compressed_can_be_read(coding: Coding, size: int) -> None:
    body = (b'{"id":%d,"name":"x"},' * 60_000 % tuple(range(60_000)))[:size]
    small = coding.of(body)
    assert decoded(coding.name.decode(), small) == body
    assert size < 100 or len(small) < size / 2


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=10))
def test_each_part_of_a_stream_can_be_read_when_it_comes(parts: list[bytes]) -> None:
    stream, reader = GzipStream(), zlib.decompressobj(31)
    for part in parts:
        assert reader.decompress(stream.write(part)) == part
    assert reader.decompress(stream.end(b"last")) == b"last"
    assert reader.eof


@pytest.mark.parametrize(
    ("field", "streams"),
    [(b"gzip", True), (b"zstd, br", False), (b"*", True), (b"gzip;q=0", False), (b"", False),
     (b"identity, gzip;q=0.5", False), (b"gzip, deflate, br, zstd", True)],
)  # fmt: skip
def test_streams_are_gzip_or_nothing(field: bytes, streams: bool) -> None:
    assert compression().streams(field) is streams
    assert not compression(codings=["br"]).streams(field)


async def test_a_large_body_is_compressed_beside_the_event_loop() -> None:
    one = compression()
    threads: list[int] = []

    def slow(body: bytes, _: int) -> bytes:
        threads.append(threading.get_ident())
        return body[:1]

    coding = Coding(b"slow", slow, 1, 1)
    for size in (64 * 1024, 64 * 1024 + 1):
        made: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        one.make(coding, b"x" * size, made.set_result)
        assert await made == b"x"
    assert threads[0] == threading.get_ident() != threads[1]
    await one.aclose()


async def test_bodies_that_would_wait_too_long_are_sent_as_they_are() -> None:
    one = compression()
    go_on = threading.Event()

    def held(body: bytes, _: int) -> bytes:
        go_on.wait(60)
        return body[:1]

    made: list[bytes] = []
    coding = Coding(b"held", held, 1, 1)
    for _ in range(20):
        one.make(coding, b"x" * 100_000, made.append)
    assert made == [b""] * 4
    go_on.set()
    while len(made) < 20:
        await asyncio.sleep(0)
    assert made[4:] == [b"x"] * 16
    await one.aclose()
    one.make(coding, b"x" * 100_000, made.append)
    assert made[20] == b""


async def test_a_body_that_cannot_be_compressed_is_sent_as_it_is() -> None:
    def broken(_: bytes, __: int) -> bytes:
        raise MemoryError

    one = compression()
    made: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    one.make(Coding(b"broken", broken, 1, 1), b"x" * 100_000, made.set_result)
    assert await made == b""
    await one.aclose()


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "string"}, True),
        ({"type": "integer"}, True),
        ({"type": "boolean"}, False),
        ({"type": "string", "enum": ["a", "b"]}, False),
        ({"type": "string", "const": "a"}, False),
        ({"type": "array", "items": {"type": "string", "enum": ["a"]}}, False),
        ({"type": "array", "items": {"type": "string"}}, True),
        ({"type": "array"}, True),
    ],
)
def test_what_a_client_chooses_freely_counts_as_text(schema: dict[str, Any], text: bool) -> None:
    assert takes_text([compile_parameter("p", schema, in_path=False)]) is text
    assert not takes_text([])


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("{min_size: 0}", "greater than 0"),
        ("{codings: [deflate]}", "zstd"),
        ("{codings: []}", "at least 1"),
        ("{level: 9}", "unknown key level"),
        ("true", ""),
    ],
)
def test_a_mistake_is_a_diagnostic_with_its_place(declared: str, message: str) -> None:
    text = (
        f"web: {{compression: {declared}}}\nupstreams: {{a: {{base_url: http://a.test}}}}\n"
        "dashboards: {d: {path: /d, sections: {x: {get: 'a:/'}}}}"
    )
    with pytest.raises(ConfigError) as caught:
        loads(text)
    assert all(d.line == 1 for d in caught.value.diagnostics)
    assert any(message in d.message for d in caught.value.diagnostics), caught.value.diagnostics
