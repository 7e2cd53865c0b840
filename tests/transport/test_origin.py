"""The request's bytes: what goes out, and what never does."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport import Origin

ORIGIN = Origin("http", "api.example", headers=[(b"Accept", b"application/json")])


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://api.example", b"api.example"),
        ("http://api.example:80/v1", b"api.example"),
        ("https://api.example:443", b"api.example"),
        ("https://api.example:8443", b"api.example:8443"),
        ("http://[::1]:8080", b"[::1]:8080"),
        ("http://grün.example", b"xn--grn-ioa.example"),
    ],
)
def test_the_host_field_names_the_authority(url: str, host: bytes) -> None:
    assert Origin.of(url).request("GET", b"/") == b"GET / HTTP/1.1\r\nhost: " + host + b"\r\n\r\n"


def test_origins_of_one_authority_share_connections() -> None:
    assert Origin.of("http://a").key == Origin.of("http://a:80", [(b"x", b"y")]).key
    assert Origin.of("http://a").key != Origin.of("https://a").key
    assert Origin("https", "a").key != Origin("https", "a", server_hostname="b").key


def test_a_host_of_ones_own() -> None:
    origin = Origin("http", "10.0.0.1", headers=[(b"Host", b"api.example")])
    assert origin.request("GET", b"/").split(b"\r\n")[1] == b"host: api.example"


def test_content_is_sent_with_its_length() -> None:
    assert ORIGIN.request("POST", b"/", body=b"ab").endswith(b"content-length: 2\r\n\r\nab")
    assert ORIGIN.request("POST", b"/").endswith(b"content-length: 0\r\n\r\n")
    assert b"content-length" not in ORIGIN.request("GET", b"/")
    assert ORIGIN.request("PURGE", b"/").startswith(b"PURGE / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("method", "target", "fields"),
    [
        ("GET ", b"/", []),
        ("", b"/", []),
        ("CONNECT", b"/", []),
        ("GET\r\n", b"/", []),
        ("GÉT", b"/", []),
        ("GET", b"", []),
        ("GET", b"/a b", []),
        ("GET", b"/\r\nx: y", []),
        ("GET", b"/\x00", []),
        ("GET", b"/\xff", []),
        ("GET", b"/", [(b"a b", b"")]),
        ("GET", b"/", [(b"", b"")]),
        ("GET", b"/", [(b"a:", b"")]),
        ("GET", b"/", [(b"a", b"x\r\ny: z")]),
        ("GET", b"/", [(b"a", b"x\n")]),
        ("GET", b"/", [(b"a", b"\x00")]),
        ("GET", b"/", [(b"Content-Length", b"9")]),
        ("GET", b"/", [(b"transfer-encoding", b"chunked")]),
        ("GET", b"/", [(b"Host", b"elsewhere")]),
        ("GET", b"/", [(b"connection", b"close")]),
    ],
)
def test_what_is_no_http_is_refused(
    method: str, target: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        ORIGIN.request(method, target, fields)


def test_constant_fields_are_checked_too() -> None:
    with pytest.raises(httpx.LocalProtocolError):
        Origin("http", "a", headers=[(b"x", b"\r\n")])
    with pytest.raises(httpx.LocalProtocolError):
        Origin("http", "a", headers=[(b"content-length", b"1")])


@pytest.mark.parametrize("url", ["ftp://a", "a", "/a", "http:///a"])
def test_what_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(httpx.UnsupportedProtocol):
        Origin.of(url)


@given(target=st.binary(), name=st.binary(), value=st.binary())
def test_nothing_that_is_sent_can_be_a_second_line(
    target: bytes, name: bytes, value: bytes
) -> None:
    try:
        request = ORIGIN.request("GET", target, [(name, value)])
    except httpx.LocalProtocolError:
        return
    lines = request.split(b"\r\n")
    assert len(lines) == 6
    assert lines[0] == b"GET " + target + b" HTTP/1.1"
    assert lines[3] == name + b": " + value
    assert b"\n" not in request.replace(b"\r\n", b"")


def test_it_shows_itself_without_its_header_fields() -> None:
    assert repr(Origin.of("http://a:81", [(b"authorization", b"secret")])) == "Origin(http://a:81)"
