"""The configuration model of an HTTP upstream."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, Field, model_validator

from gateway.config.models import MisplacedError, Model, UpstreamConfig
from gateway.values.content_type import parse_entry
from gateway.values.units import Positive

__all__ = ["HttpUpstreamConfig", "TlsConfig"]

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")
_DOTTED = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Fields of one connection or of the framing of one message (RFC 9110 7.6.1), and fields that the
# gateway sets.
_OURS = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding",
     "upgrade", "accept-encoding", "proxy-connection"}
)  # fmt: skip
# Fields that identify the caller. Propagated fields are not part of a cache key, so an answer to
# one caller would be served to others.
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
_PROPAGATED = ("traceparent", "tracestate", "x-request-id")
"""W3C Trace Context, and the identifier that many proxies set."""


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write an absolute http or https URL, such as https://api.example.com")
    if parts.query or parts.fragment or "?" in value or "#" in value:
        raise ValueError(
            "a base URL cannot have a query or a fragment; write the query in the sections"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "a base URL cannot contain credentials; write them in `headers` as ${VARIABLE}"
        )
    if any(c.isspace() or ord(c) < 0x21 or c in "\\{}\x7f" for c in value):  # noqa: PLR2004 - controls
        raise ValueError("a URL cannot contain spaces, braces, backslashes or control characters")
    if not value.isascii():  # RFC 3986 section 2
        raise ValueError(
            "a URL must be ASCII; write the host as xn--... and percent-encode the path"
        )
    if _LONE_PERCENT.search(value):
        raise ValueError("write %25 for a literal %")
    _check_address(parts)
    return value.rstrip("/")


def _proxy_url(value: str) -> str:
    if not value.isascii() or any(ord(c) < 0x21 or c == "\x7f" for c in value):  # noqa: PLR2004 - controls
        raise ValueError("a URL must be ASCII, without spaces or control characters")
    parts = urlsplit(value)
    if not parts.hostname:
        raise ValueError("write the URL of a proxy, such as http://proxy.example.com:3128")
    _check_address(parts)
    return value


def _check_address(parts: SplitResult) -> None:
    """Refuse an invalid port or IP address."""
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"the port must be a number from 1 to 65535 ({error})") from None
    if port == 0:
        raise ValueError("the port must be a number from 1 to 65535, not 0")
    host = parts.hostname or ""
    if "[" in parts.netloc or _DOTTED.fullmatch(host):
        ip_address(host)


def _header_name(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError(f"{value!r} is not a valid header name")
    if value.lower() in _OURS:
        raise ValueError(f"{value} is set by the gateway and cannot be configured")
    return value


def _propagated_name(value: str) -> str:
    if value.lower() in _CREDENTIALS:
        raise ValueError(
            f"{value} identifies the caller; use `forward_headers`, so that answers stay private "
            "to the caller"
        )
    return value


def _header_value(value: str) -> str:
    if _HEADER_VALUE.fullmatch(value) is None:  # RFC 9110 section 5.5
        raise ValueError("a header value must be one line of ASCII without control characters")
    return value


def _content_type(value: str) -> str:
    parse_entry(value)
    return value


HeaderName = Annotated[
    str,
    AfterValidator(_header_name),
    Field(title="field name", examples=["authorization"]),
]
PropagatedName = Annotated[HeaderName, AfterValidator(_propagated_name)]
ContentType = Annotated[
    str,
    AfterValidator(_content_type),
    Field(json_schema_extra={"examples": ["text/html", "application/json; charset=iso-8859-1"]}),
]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
BaseUrl = Annotated[
    str,
    AfterValidator(_base_url),
    Field(json_schema_extra={"format": "uri", "examples": ["https://api.example.com"]}),
]
ProxyUrl = Annotated[
    str,
    Field(
        title="URL",
        pattern=r"^(https?|socks5h?)://",
        examples=["http://proxy.example.com:3128"],
    ),
    AfterValidator(_proxy_url),
]


class TlsConfig(Model):
    """How the certificate of an https upstream is verified."""

    roots: Literal["certifi", "system", "none"] = "certifi"
    """Base CA certificates to trust: those of the certifi package, the system's, or none."""
    ca_file: str | None = Field(default=None, examples=["/etc/ssl/our-ca.pem"])
    """PEM file with further CA certificates to trust."""
    client_cert: str | None = Field(default=None, examples=["/etc/ssl/gateway.pem"])
    """PEM file with the gateway's client certificate."""
    client_key: str | None = Field(default=None, examples=["/etc/ssl/gateway.key"])
    """PEM file with its private key, if that is not in the same file."""


class HttpUpstreamConfig(UpstreamConfig):
    """A service that the gateway calls, with its limits and resilience policies."""

    base_url: BaseUrl
    """Absolute http(s) URL; the paths of the sections are appended to it."""
    connect_timeout: Positive = 2.0
    """Time to open a connection, TLS included."""
    headers: dict[HeaderName, HeaderValue] = Field(
        default={}, examples=[{"x-api-key": "${API_KEY}"}]
    )
    """Header fields sent with every call."""
    forward_headers: list[HeaderName] = Field(default=[])
    """Header fields of the client's request that are sent on; they are part of the cache key."""
    propagate_headers: list[PropagatedName] = Field(default=list(_PROPAGATED))
    """Header fields of the client's request that are sent on but are not part of the cache key,
    such as trace identifiers. By default traceparent, tracestate and x-request-id; `[]` propagates
    none."""
    deadline_header: HeaderName | None = Field(default=None, examples=["x-deadline-ms"])
    """Header field that sends the remaining milliseconds to the upstream."""
    transport: Literal["native", "httpx"] = Field(default="native", examples=["httpx"])
    """`native` is the gateway's fast HTTP/1.1 client; `httpx` adds HTTP/2 and proxies."""
    proxy: ProxyUrl | None = None
    """URL of a proxy; needs `transport: httpx`. Environment variables are never read for it."""
    connections: Annotated[int, Field(ge=1, le=10_000)] | None = Field(default=None, examples=[100])
    """Open connections at most; by default as many as `concurrency` allows."""
    tls: TlsConfig = Field(default=TlsConfig(), examples=[{"ca_file": "/etc/ssl/our-ca.pem"}])
    """How its certificate is verified."""
    content_types: list[ContentType] | Literal["any"] = Field(default=[])
    """Further media types to decode as JSON, such as `text/html`, in the charset that an answer
    declares or in the one given here (`application/json; charset=iso-8859-1`). `any` accepts every
    media type."""

    @model_validator(mode="after")
    def _proxied(self) -> HttpUpstreamConfig:
        if self.proxy is not None and self.transport != "httpx":
            raise ValueError("`proxy` needs `transport: httpx`")
        return self

    @model_validator(mode="after")
    def _one_value(self) -> HttpUpstreamConfig:
        places = {name.lower(): "headers" for name in self.headers}
        if self.deadline_header is not None:
            places.setdefault(self.deadline_header.lower(), "deadline_header")
        written = self.propagate_headers if "propagate_headers" in self.model_fields_set else ()
        for key, names in (("forward_headers", self.forward_headers),
                           ("propagate_headers", written)):  # fmt: skip
            for at, name in enumerate(names):
                first = places.setdefault(name.lower(), key)
                if first != key:
                    raise MisplacedError(
                        f"{name} is in both `{first}` and `{key}`; remove one", (key, at)
                    )
        return self

    @property
    def propagated(self) -> tuple[str, ...]:
        """Names of the fields to propagate, without those that another key sends."""
        taken = {name.lower() for name in (*self.headers, *self.forward_headers)}
        taken.add((self.deadline_header or "").lower())
        return tuple(name for name in self.propagate_headers if name.lower() not in taken)

    @property
    def apart_by(self) -> tuple[str, ...]:
        """Names of the forwarded header fields, which are part of a call's identity."""
        return tuple(self.forward_headers)

    @property
    def most_connections(self) -> int:
        """Connections that one process opens at most."""
        return self.connections or super().most_connections
