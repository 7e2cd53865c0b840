from __future__ import annotations

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.transport.answer import RawAnswer
from gateway.transport.bounds import Bounds
from gateway.transport.reader import AnswerReader
from gateway.transport.whole import WholeReader
from tests.transport.corpus import corpus

BOUNDS = Bounds(max_body=40, max_header_bytes=160, max_headers=6)
USUAL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def agrees(reader: WholeReader, data: bytes, bounds: Bounds) -> RawAnswer | None:
    """Check that what `reader` returns is what `AnswerReader` reads."""
    found = reader.read(data)
    if found is not None:
        careful = AnswerReader(bounds)
        careful.begin()
        assert careful.feed(data)
        answer = careful.answer()
        assert not careful.surplus
        # It does not compare lengths, and closes where the end of a body is not plain to see.
        assert careful.reusable or not answer.body.strip(b"\r\n")
        for name in RawAnswer.__slots__:
            assert getattr(found, name) == getattr(answer, name), name
    return found


def test_the_usual_answer_is_read() -> None:
    reader = WholeReader(Bounds())
    for _ in range(3):
        answer = agrees(reader, USUAL, Bounds())
        assert answer is not None
        assert answer.body == b"{}"
        assert answer.headers == [(b"content-type", b"application/json"), (b"content-length", b"2")]


@pytest.mark.parametrize(
    "data",
    [
        USUAL[:-1],
        USUAL + b"\r\n",
        USUAL + USUAL,
        USUAL.replace(b"200 OK", b"201 Created"),
        USUAL.replace(b"200 OK", b"200 OK then"),
        USUAL.replace(b"HTTP/1.1", b"HTTP/1.0"),
        USUAL.replace(b"Content-Type", b"Connection: close\r\nContent-Type"),
        USUAL.replace(b"Content-Type", b"Content-Encoding: gzip\r\nContent-Type"),
        USUAL.replace(b"Content-Length: 2", b"Transfer-Encoding: chunked"),
        USUAL.replace(b"application/json\r\n", b"application/json\n"),
        USUAL.replace(b"application/json", b"application/\r\n json"),
        USUAL.replace(b"application/json", b"application/\r\n\tjson"),
        USUAL.replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 2"),
        USUAL.replace(b"Content-Length: 2", b"Content-Length: +2"),
        USUAL.replace(b"Content-Length: 2", b"Content-Length:2"),
        USUAL.replace(b"Content-Length: 2", b"Content-Length: 02"),
        USUAL.replace(b"Content-Length: 2", b"Content-Length: " + b"2".zfill(21)),
        USUAL.replace(b"Content-Type", b"Content\x00Type"),
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"",
    ],
)
def test_what_is_not_plainly_usual_is_left_to_the_other_reader(data: bytes) -> None:
    reader = WholeReader(Bounds())
    assert reader.read(data) is None
    assert agrees(reader, USUAL, Bounds()) is not None, "it reads the next answer"


@pytest.mark.parametrize(
    ("bounds", "fits"),
    [
        (Bounds(max_body=2), True),
        (Bounds(max_body=1), False),
        (Bounds(max_headers=2), True),
        (Bounds(max_headers=1), False),
        (Bounds(max_header_bytes=len(USUAL) - 2), True),
        (Bounds(max_header_bytes=len(USUAL) - 3), False),
    ],
)
def test_the_bounds_are_those_of_the_other_reader(bounds: Bounds, fits: bool) -> None:
    assert (agrees(WholeReader(bounds), USUAL, bounds) is not None) is fits
    careful = AnswerReader(bounds)
    careful.begin()
    if fits:
        assert careful.feed(USUAL)
    else:
        with pytest.raises(httpx.RemoteProtocolError):
            careful.feed(USUAL)


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\x00",
        b"Content-Length: 2", b"content-length:3 ", b"Content-Length : 2", b"Content-Length: 0",
        b"Transfer-Encoding: chunked", b"Connection: close", b"Connection: keep-alive",
        b"X: y", b"Vary: Accept-Encoding", b"{}", b"abc", b"\r\n\r\n", b"\r\n\r\n{}",
    ]
)  # fmt: skip


@given(st.lists(st.lists(PIECES, max_size=9).map(b"".join), min_size=1, max_size=4))
@example([USUAL])
@example([USUAL.replace(b"2\r\n\r\n{}", b"4\r\n\r\n\r\n\r\n")])
def test_whatever_comes_both_readers_agree(answers: list[bytes]) -> None:
    reader = WholeReader(BOUNDS)
    for data in answers:
        agrees(reader, data, BOUNDS)
        agrees(reader, b"HTTP/1.1 200 OK\r\n" + data, BOUNDS)


def test_both_readers_agree_on_the_corpus() -> None:
    reader = WholeReader(Bounds())
    found = [agrees(reader, case.raw, Bounds()) is not None for case in corpus(8000)]
    assert sum(found) > 5
