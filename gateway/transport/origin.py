"""The origin of a request, and the constant bytes of its request head."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["IDEMPOTENT", "WITH_CONTENT", "Origin", "field_lines", "request_head"]

# RFC 9110 section 5.6.2 and 5.5, RFC 9112 section 3.2. Invalid input is refused, not repaired: a
# line break on the wire would be a second request.
_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+").fullmatch
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch
_TARGET = re.compile(rb"[!-~]+").fullmatch

_PORTS = {"http": 80, "https": 443}
_METHODS = {name: name.encode() + b" " for name in ("GET", "HEAD", "POST", "PUT", "DELETE")}
WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})
# RFC 9110 section 9.2.2.
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_OURS = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade"})


class Origin:
    """Scheme, host and port (RFC 9110 section 4.3.1) with the constant part of each request head.

    Args:
        scheme: `http` or `https`.
        host: name or address, without brackets, in ASCII (IDNA applied).
        port: by default the scheme's port.
        headers: constant header fields of every request. `host` overrides the default. The
            transport sets the framing fields (`content-length`, `transfer-encoding`, `connection`).
        server_hostname: the name for SNI and certificate verification, by default `host`.

    Attributes:
        key: origins with the same key share a pool.
    """

    __slots__ = ("_constant", "_suffix", "host", "key", "port", "scheme", "server_hostname")

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int | None = None,
        *,
        headers: Iterable[tuple[bytes, bytes]] = (),
        server_hostname: str | None = None,
    ) -> None:
        if scheme not in _PORTS:
            raise httpx.UnsupportedProtocol(f"{scheme!r} is neither http nor https")
        if not host:
            raise httpx.UnsupportedProtocol("the address has no host")
        self.scheme = scheme
        self.host = host
        self.port = _PORTS[scheme] if port is None else port
        self.server_hostname = server_hostname or host
        self.key = (scheme, host, self.port, self.server_hostname)
        constant = [(name.lower(), value) for name, value in headers]
        names = [value for name, value in constant if name == b"host"]
        authority = names[-1] if names else self._authority()
        rest = [(name, value) for name, value in constant if name != b"host"]
        self._constant = ((b"host", authority), *rest)
        self._suffix = (
            b" HTTP/1.1\r\n" + field_lines([(b"host", authority)]) + field_lines(rest, _OURS)
        )

    @classmethod
    def of(cls, url: str | httpx.URL, headers: Iterable[tuple[bytes, bytes]] = ()) -> Origin:
        """Return the origin of an absolute URL."""
        parsed = httpx.URL(url)
        return cls(
            parsed.scheme,
            parsed.raw_host.decode("ascii"),
            parsed.port,
            headers=headers,
        )

    def _authority(self) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port != _PORTS[self.scheme]:
            host = f"{host}:{self.port}"
        return host.encode("ascii")

    def request(
        self,
        method: str,
        target: bytes,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes = b"",
    ) -> bytes:
        """Return the complete request as bytes.

        Raises `httpx.LocalProtocolError` for an invalid method, target or field, and for fields
        that the transport sets (host, framing, connection).
        """
        start = _METHODS.get(method) or _method(method)
        if not _TARGET(target):
            raise httpx.LocalProtocolError(f"{target[:64]!r} is no request target")
        fields = field_lines(headers, _OURS) if headers else b""
        if body or method in WITH_CONTENT:
            fields += b"content-length: %d\r\n" % len(body)
        return b"".join((start, target, self._suffix, fields, b"\r\n", body))

    def fields(self, headers: Iterable[tuple[bytes, bytes]] = ()) -> list[tuple[bytes, bytes]]:
        """Return the header fields that `request` would send, without framing."""
        headers = list(headers)
        field_lines(headers, _OURS)
        return [*self._constant, *headers]

    def url(self, target: bytes) -> httpx.URL:
        """Return the absolute URL of a target."""
        return httpx.URL(scheme=self.scheme, host=self.host, port=self.port, raw_path=target)

    def __str__(self) -> str:
        return f"{self.scheme}://{self._authority().decode()}"

    def __repr__(self) -> str:
        return f"Origin({self})"


def _method(method: str) -> bytes:
    name = method.encode("ascii", "replace")
    # After CONNECT a connection no longer carries HTTP.
    if not _TOKEN(name) or name == b"CONNECT":
        raise httpx.LocalProtocolError(f"method {method[:32]!r} cannot be sent")
    return name + b" "


def request_head(method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a request head with exactly these fields, blank line included."""
    start = _METHODS.get(method) or _method(method)
    if not _TARGET(target):
        raise httpx.LocalProtocolError(f"{target[:64]!r} is no request target")
    return b"".join((start, target, b" HTTP/1.1\r\n", field_lines(headers), b"\r\n"))


def field_lines(
    headers: Iterable[tuple[bytes, bytes]], refused: frozenset[bytes] = frozenset()
) -> bytes:
    """Return header fields as lines.

    Raises `httpx.LocalProtocolError` for a name that is not a token, a value with control
    characters (such as CR, LF and NUL), and for `refused` names.
    """
    lines = b""
    for name, value in headers:
        if not _TOKEN(name) or not _VALUE(value):
            raise httpx.LocalProtocolError(f"header field {name[:64]!r} cannot be sent")
        if name.lower() in refused:
            raise httpx.LocalProtocolError(f"header field {name!r} is set by the transport")
        lines += b"%b: %b\r\n" % (name, value)
    return lines
