"""Requests that servers and proxies have disagreed about, and what ours says to them.

Each case is the bytes and the statuses of all answers, in order; `...` at the end means that the
connection stays open. What follows a refusal is never taken for a request.
"""

from __future__ import annotations

__all__ = ["CASES"]

HOST = b"Host: gateway.test\r\n"
START = b"GET /d/1 HTTP/1.1\r\n" + HOST
NEXT = b"GET /d/2 HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /d/1 HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def line(text: bytes) -> bytes:
    return text + b"\r\n" + HOST + b"\r\n"


CASES: dict[str, tuple[bytes, list[int], bool]] = {
    # Framing
    "length and chunked": (
        POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + NEXT,
        [400],
        False,
    ),
    "chunked and length": (
        POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + NEXT,
        [400],
        False,
    ),
    "two lengths": (
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + NEXT,
        [400],
        False,
    ),
    "one length twice": (
        POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + NEXT,
        [400],
        False,
    ),
    "a list of lengths": (POST + b"Content-Length: 5, 5\r\n\r\nhello" + NEXT, [400], False),
    "a signed length": (POST + b"Content-Length: +5\r\n\r\nhello" + NEXT, [400], False),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n" + NEXT, [400], False),
    "a length in hex": (POST + b"Content-Length: 0x5\r\n\r\nhello" + NEXT, [400], False),
    "a length too long": (
        POST + b"Content-Length: 99999999999999999999\r\n\r\n" + NEXT,
        [400],
        False,
    ),
    "an empty length": (POST + b"Content-Length: \r\n\r\n" + NEXT, [400], False),
    "a length with zeros": (POST + b"Content-Length: 0005\r\n\r\nhello" + NEXT, [405, 200], True),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n" + NEXT, [400], False),
    "chunked twice": (
        POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + NEXT,
        [400],
        False,
    ),
    "chunked, then another": (
        POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" + NEXT,
        [400],
        False,
    ),
    "two fields of codings": (
        POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + NEXT,
        [400],
        False,
    ),
    "another, then chunked": (
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + NEXT,
        [501],
        False,
    ),
    "a coding of almost that name": (
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + NEXT,
        [400],
        False,
    ),
    "a coding after a tab": (
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + NEXT,
        [400],
        False,
    ),
    "a coding in HTTP/1.0": (
        b"POST /d/1 HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n" + NEXT,
        [400],
        False,
    ),
    "chunks": (
        POST + CHUNKED + b"\r\n5;a=b\r\nhello\r\n0\r\nX: 1\r\n\r\n" + NEXT,
        [405, 200],
        True,
    ),
    "a Host among the trailers": (
        POST + CHUNKED + b"\r\n0\r\nHost: b\r\n\r\n" + NEXT,
        [405, 200],
        True,
    ),
    "a length among the trailers": (
        POST + CHUNKED + b"\r\n0\r\nContent-Length: 9\r\n\r\n" + NEXT,
        [405],
        False,
    ),
    "a chunk that is too long": (
        POST + CHUNKED + b"\r\n3\r\nabcd\r\n0\r\n\r\n" + NEXT,
        [405],
        False,
    ),
    "a chunk size that is none": (POST + CHUNKED + b"\r\nz\r\n\r\n" + NEXT, [405], False),
    "chunks with bare line feeds": (POST + CHUNKED + b"\r\n5\nhello\n0\n\n" + NEXT, [405], False),
    "a chunk size with a blank": (
        POST + CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n" + NEXT,
        [405],
        False,
    ),
    # Header fields
    "a folded field": (START + b"X: a\r\n b\r\n\r\n" + NEXT, [400], False),
    "a folded coding": (
        POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + NEXT,
        [400],
        False,
    ),
    "a blank before the colon": (START + b"Content-Length : 5\r\n\r\nhello" + NEXT, [400], False),
    "a tab before the colon": (START + b"X\t: 5\r\n\r\n" + NEXT, [400], False),
    "a bare carriage return": (
        START + b"X: a\rContent-Length: 5\r\n\r\nhello" + NEXT,
        [400],
        False,
    ),
    "a bare line feed": (START + b"X: a\nContent-Length: 5\r\n\r\nhello" + NEXT, [400], False),
    "line feeds only": (b"GET /d/1 HTTP/1.1\nHost: a\n\n" + NEXT, [400], False),
    "a null": (START + b"X: a\0b\r\n\r\n" + NEXT, [400], False),
    "a control character": (START + b"X: a\x01b\r\n\r\n" + NEXT, [400], False),
    "no name": (START + b": a\r\n\r\n" + NEXT, [400], False),
    "no colon": (START + b"X\r\n\r\n" + NEXT, [400], False),
    "a blank first": (b"GET /d/1 HTTP/1.1\r\n " + HOST + b"\r\n" + NEXT, [400], False),
    "bytes beyond ASCII in a value": (START + b"X: \xff\xc3\xa4\r\n\r\n" + NEXT, [200, 200], True),
    # Host
    "no Host": (b"GET /d/1 HTTP/1.1\r\n\r\n" + NEXT, [400], False),
    "two Hosts": (START + HOST + b"\r\n" + NEXT, [400], False),
    "two Hosts in HTTP/1.0": (b"GET /d/1 HTTP/1.0\r\n" + HOST + HOST + b"\r\n", [400], False),
    "a list of Hosts": (b"GET /d/1 HTTP/1.1\r\nHost: a, b\r\n\r\n" + NEXT, [400], False),
    "a Host with a path": (b"GET /d/1 HTTP/1.1\r\nHost: a/b\r\n\r\n" + NEXT, [400], False),
    "a Host with a user": (b"GET /d/1 HTTP/1.1\r\nHost: u@a\r\n\r\n" + NEXT, [400], False),
    "a Host with a wrong port": (b"GET /d/1 HTTP/1.1\r\nHost: a:b\r\n\r\n" + NEXT, [400], False),
    "an empty Host": (b"GET /d/1 HTTP/1.1\r\nHost:\r\n\r\n" + NEXT, [200, 200], True),
    "a Host of IPv6": (b"GET /d/1 HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n" + NEXT, [200, 200], True),
    "no Host in HTTP/1.0": (b"GET /d/1 HTTP/1.0\r\n\r\n", [200], False),
    # Request line
    "HTTP/2.0": (line(b"GET /d/1 HTTP/2.0") + NEXT, [505], False),
    "HTTP/3.0": (line(b"GET /d/1 HTTP/3.0") + NEXT, [505], False),
    "HTTP/1.2": (line(b"GET /d/1 HTTP/1.2") + NEXT, [400], False),
    "HTTP/0.9": (line(b"GET /d/1 HTTP/0.9") + NEXT, [400], False),
    "no version": (b"GET /d/1\r\n\r\n" + NEXT, [400], False),
    "half a version": (line(b"GET /d/1 HTTP/1") + NEXT, [400], False),
    "a version in small letters": (line(b"GET /d/1 http/1.1") + NEXT, [400], False),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505], False),
    "a method in small letters": (line(b"get /d/1 HTTP/1.1") + NEXT, [400], False),
    "a method that is none": (line(b"FOO /d/1 HTTP/1.1") + NEXT, [400], False),
    "a tab after the method": (line(b"GET\t/d/1 HTTP/1.1") + NEXT, [400], False),
    "CONNECT": (line(b"CONNECT a:80 HTTP/1.1") + NEXT, [400], False),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + NEXT, [400], False),
    "garbage after a request": (START + b"\r\n" + b"!!!\r\n\r\n" + NEXT, [200, 400], False),
    "empty lines before a request": (
        b"\r\n\r\n" + START + b"\r\n\r\n\r\n" + NEXT,
        [200, 200],
        True,
    ),
    "a request after the last one": (START + b"Connection: close\r\n\r\n" + NEXT, [200], False),
    "an upgrade with content": (
        START + b"Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\nhello" + NEXT,
        [200],
        False,
    ),
    # Paths
    "an absolute target": (line(b"GET http://other/d/1 HTTP/1.1") + NEXT, [200, 200], True),
    "a target without a path": (line(b"GET http://other HTTP/1.1") + NEXT, [404, 200], True),
    "a target that is no path": (line(b"GET d/1 HTTP/1.1") + NEXT, [400], False),
    "two slashes": (line(b"GET //d/1 HTTP/1.1") + NEXT, [404, 200], True),
    "dots": (line(b"GET /x/../d/1 HTTP/1.1") + NEXT, [404, 200], True),
    "encoded dots": (line(b"GET /d/%2e%2e HTTP/1.1") + NEXT, [422, 200], True),
    "an encoded slash": (line(b"GET /kept%2F1 HTTP/1.1") + NEXT, [404, 200], True),
    "an encoded null": (line(b"GET /d/%00 HTTP/1.1") + NEXT, [422, 200], True),
    "not UTF-8": (line(b"GET /d/%FF HTTP/1.1") + NEXT, [422, 200], True),
    "half an escape": (line(b"GET /d/%2 HTTP/1.1") + NEXT, [422, 200], True),
    "bytes beyond ASCII": (line(b"GET /d/\xc3\xa4 HTTP/1.1") + NEXT, [400], False),
    "a delete character": (line(b"GET /d/\x7f HTTP/1.1") + NEXT, [400], False),
    "a backslash": (line(b"GET /d\\1 HTTP/1.1") + NEXT, [404, 200], True),
    "every resource": (line(b"OPTIONS * HTTP/1.1") + NEXT, [404, 200], True),
    "an encoded letter": (line(b"GET /%64/1 HTTP/1.1") + NEXT, [200, 200], True),
}
