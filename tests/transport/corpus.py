"""Raw answers, good and bad, made from a seed: what two HTTP clients are compared on."""

from __future__ import annotations

import gzip
import random
import zlib
from dataclasses import dataclass
from itertools import pairwise

_STATUS = (
    b"200 OK",
    b"200 ",
    b"200",
    b"201 Created",
    b"204 No Content",
    b"206 Partial Content",
    b"299 Odd Thing",
    b"301 Moved",
    b"304 Not Modified",
    b"400 Bad",
    b"404 Not Found",
    b"429 Too Many",
    b"500 Oops",
    b"503 Away",
    b"599 X",
    b"999 Y",
)
_FIELDS = (
    (b"Content-Type", b"application/json"),
    (b"content-type", b"text/html; charset=utf-8"),
    (b"Server", b"nginx/1.22.1"),
    (b"Date", b"Fri, 20 Nov 2026 22:30:30 GMT"),
    (b"ETag", b'"5f-abc"'),
    (b"Set-Cookie", b"a=b; Path=/; HttpOnly"),
    (b"Set-Cookie", b"c=d"),
    (b"Cache-Control", b"max-age=60, public"),
    (b"Retry-After", b"1"),
    (b"Location", b"http://canary.invalid/"),
    (b"X-Empty", b""),
    (b"X-Blanks", b"  a  b  "),
    (b"X-Tab", b"a\tb"),
    (b"X-Latin", "grün".encode("latin-1")),
    (b"X-Utf8", "grün".encode()),
    (b"Connection", b"keep-alive"),
    (b"Connection", b"close"),
    (b"Connection", b"Upgrade"),
    (b"Upgrade", b"h2c"),
    (b"Keep-Alive", b"timeout=5"),
    (b"Vary", b"Accept, Accept-Encoding"),
    (b"Trailer", b"X-Sum"),
    (b"x_y", b"under_score"),
    (b"X!#$%&'*+.^_`|~", b"token"),
)
_BODIES = (
    b"",
    b"x",
    b"{}",
    b'{"a": 1}\n',
    b"\r\n",
    b"\n\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
)
_SPLICES = (
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b"\x01", b"\x0b", b"\x0c", b"\x7f", b"\xff",
    b"0", b"-", b"+", b"g", b",", b";", b"HTTP/1.1 200 OK\r\n", b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b" folded\r\n", b"\r\n\r\n", b"chunked", b"\x85", b"\xa0",
)  # fmt: skip
_ODDITIES = (
    b"",
    b"\r\n",
    b"HTTP",
    b"GET / HTTP/1.1\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b"http/1.1 200 OK\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"<html></html>",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 \r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 000 Low\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.2 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/0.9 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/11.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
    b"HTTP/1.1 200 A\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 A\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    b"HTTP/1.1 204 Nil\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    b"HTTP/1.1 304 Nil\r\ncontent-length: 1000\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2, 3\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\ncontent-length: 1_0\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\ncontent-length: 00000000000000000000000000002\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\n content-length: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\n: 2\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\nab",
    b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nab",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One raw answer to one method.

    Attributes:
        parts: the bytes, in the packets that they go in.
    """

    number: int
    method: str
    parts: tuple[bytes, ...]

    @property
    def raw(self) -> bytes:
        return b"".join(self.parts)


def corpus(size: int, seed: int = 1) -> list[Case]:
    """Return `size` cases: oddities known by name, sound answers, and damaged ones."""
    rng = random.Random(seed)
    raws = list(_ODDITIES)
    while len(raws) < size:
        raw = _sound(rng)
        if rng.random() < 0.6:
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                raw = _damaged(rng, raw)
        raws.append(raw)
    return [_case(rng, number, raw) for number, raw in enumerate(raws[:size])]


def truncated(size: int, seed: int = 1) -> list[Case]:
    """Return `size` sound answers cut off somewhere, for connections that are reset there."""
    rng = random.Random(seed)
    cases = []
    for number in range(size):
        raw = _sound(rng)
        cases.append(Case(number, "GET", (raw[: rng.randrange(1, len(raw))],)))
    return cases


def _case(rng: random.Random, number: int, raw: bytes) -> Case:
    method = rng.choice(("GET", "GET", "GET", "GET", "GET", "POST", "HEAD"))
    cuts: list[int] = []
    if rng.random() < 0.3 and len(raw) > 1:
        cuts = sorted({rng.randrange(1, len(raw)) for _ in range(rng.choice((1, 2, 5)))})
    edges = [0, *cuts, len(raw)]
    parts = tuple(raw[a:b] for a, b in pairwise(edges) if a < b)
    return Case(number, method, parts)


def _sound(rng: random.Random) -> bytes:
    fields = rng.sample(_FIELDS, rng.randrange(6))
    body = rng.choice(_BODIES) if rng.random() < 0.5 else rng.randbytes(rng.randrange(1, 3000))
    body, coding = _encoded(rng, body)
    if coding:
        fields.append((b"Content-Encoding", coding))
    framing = rng.random()
    if framing < 0.45:
        fields.append((b"Content-Length", b"%d" % len(body)))
    elif framing < 0.85:
        fields.append((b"Transfer-Encoding", b"chunked"))
        body = _chunks(rng, body)
    rng.shuffle(fields)
    version = rng.choice((b"HTTP/1.1",) * 9 + (b"HTTP/1.0",))
    head = version + b" " + rng.choice(_STATUS) + b"\r\n"
    head += b"".join(b"%b:%b%b\r\n" % (n, rng.choice((b" ", b"", b"  ")), v) for n, v in fields)
    interim = b""
    if rng.random() < 0.1:
        interim = rng.choice(
            (
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n",
                b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
            )
        )
    surplus = rng.choice((b"",) * 8 + (b"\r\n", b"xx", head))
    return interim + head + b"\r\n" + body + surplus


def _encoded(rng: random.Random, body: bytes) -> tuple[bytes, bytes]:  # noqa: PLR0911
    chance = rng.random()
    if chance < 0.1:
        return gzip.compress(body, mtime=0), b"gzip"
    if chance < 0.15:
        return zlib.compress(body), b"deflate"
    if chance < 0.18:
        stream = zlib.compressobj(wbits=-15)
        return stream.compress(body) + stream.flush(), b"deflate"
    if chance < 0.2:
        return body, rng.choice((b"identity", b"", b"IDENTITY"))
    if chance < 0.23:
        return gzip.compress(body, mtime=0), rng.choice((b"GZIP", b" gzip", b"gzip, identity"))
    if chance < 0.25:
        return body, rng.choice((b"gzip", b"deflate"))
    if chance < 0.27:
        return gzip.compress(gzip.compress(body, mtime=0), mtime=0), b"gzip, gzip"
    if chance < 0.28:
        return body, b"unheard-of"
    return body, b""


def _chunks(rng: random.Random, body: bytes) -> bytes:
    out = b""
    while body:
        size = rng.choice((1, 2, 7, 100, 5000))
        piece, body = body[:size], body[size:]
        extension = rng.choice((b"",) * 9 + (b";a=b", b';a="b"', b";a"))
        out += b"%x%b\r\n%b\r\n" % (len(piece), extension, piece)
    trailer = rng.choice((b"",) * 9 + (b"X-Sum: 1\r\n", b"Content-Length: 4\r\n"))
    return out + rng.choice((b"0", b"0", b"000")) + b"\r\n" + trailer + b"\r\n"


def _damaged(rng: random.Random, raw: bytes) -> bytes:
    at = rng.randrange(len(raw) + 1)
    if rng.random() < 0.5:
        # Heads are short and bodies long, and heads are where it hurts.
        at = min(at, rng.randrange(max(raw.find(b"\r\n\r\n"), 1)))
    match rng.randrange(5):
        case 0:
            return raw[:at]
        case 1:
            return raw[:at] + rng.choice(_SPLICES) + raw[at:]
        case 2:
            return raw[:at] + raw[at + rng.choice((1, 1, 2, 10)) :]
        case 3:
            return raw[:at] + rng.choice(_SPLICES) + raw[at + 1 :]
        case _:
            return raw[:at] + bytes((rng.randrange(256),)) + raw[at + 1 :]
