"""The configuration as pydantic models: what may stand in `gateway.yaml`.

Shapes and single values are checked here; what needs the whole document (references, cycles,
paths) is checked by `gateway.plan`, and every mistake gets its position in `gateway.plan.load`.
The docstrings of attributes are the descriptions of the JSON Schema that editors show.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway.expressions.json_schema import compile_schema
from gateway.expressions.nesting import DEEPEST
from gateway.layers.breaker import BreakerPolicy
from gateway.layers.cache import CachePolicy
from gateway.layers.cooldown import CoolDownPolicy
from gateway.layers.hedge import HedgePolicy
from gateway.layers.retry import RetryPolicy
from gateway.values.content_type import parse_entry
from gateway.values.units import Duration, Positive, Size

__all__ = [
    "Config",
    "DashboardConfig",
    "ForEachConfig",
    "RaceConfig",
    "SectionConfig",
    "TlsConfig",
    "UpstreamConfig",
]

NAME = r"^[A-Za-z_][A-Za-z0-9_]*\Z"
UPSTREAM_NAME = r"^[A-Za-z_][A-Za-z0-9_-]*\Z"
MAX_NAME = 64

Name = Annotated[str, Field(title="name", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=MAX_NAME)]

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")
_DOTTED = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Fields that belong to one connection or to the framing of one message (RFC 9110 7.6.1), and those
# that the gateway itself decides on.
_OURS = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding",
     "upgrade", "accept-encoding", "proxy-connection"}
)  # fmt: skip
# Fields that say who the caller is. What is propagated tells no answers apart, so an answer to one
# caller would be served to others.
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
_PROPAGATED = ("traceparent", "tracestate", "x-request-id")
"""W3C Trace Context, and the identifier that many proxies set."""


class _MisplacedError(ValueError):
    """A value that is wrong at `location`, which leads from the model to it."""

    def __init__(self, message: str, location: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.location = location


class Model(BaseModel):
    """Base of the configuration: frozen, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=False
    )


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("write an absolute http or https URL, such as https://api.example.com")
    if parts.query or parts.fragment or "?" in value or "#" in value:
        raise ValueError("a base URL has no query and no fragment; these belong to the sections")
    if parts.username is not None or parts.password is not None:
        raise ValueError("no credentials in a base URL; put them into `headers` by ${VARIABLE}")
    if any(c.isspace() or ord(c) < 0x21 or c in "\\{}\x7f" for c in value):  # noqa: PLR2004 - controls
        raise ValueError("a URL has no spaces, braces, backslashes or control characters")
    if not value.isascii():  # RFC 3986 section 2
        raise ValueError("a URL is ASCII; write the host as xn--..., percent-encode the path")
    if _LONE_PERCENT.search(value):
        raise ValueError("write %25 for a literal %")
    _check_address(parts)
    return value.rstrip("/")


def _proxy_url(value: str) -> str:
    if not value.isascii() or any(ord(c) < 0x21 or c == "\x7f" for c in value):  # noqa: PLR2004 - controls
        raise ValueError("a URL is ASCII, without spaces or control characters")
    parts = urlsplit(value)
    if not parts.hostname:
        raise ValueError("write the URL of a proxy, such as http://proxy.example.com:3128")
    _check_address(parts)
    return value


def _check_address(parts: SplitResult) -> None:
    """Refuse a port or an IP address that is none."""
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"the port is no number up to 65535 ({error})") from None
    if port == 0:
        raise ValueError("0 is no port to call")
    host = parts.hostname or ""
    if "[" in parts.netloc or _DOTTED.fullmatch(host):
        ip_address(host)


def _header_name(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError(f"{value!r} is no header name")
    if value.lower() in _OURS:
        raise ValueError(f"{value} is for the gateway to set")
    return value


def _propagated_name(value: str) -> str:
    if value.lower() in _CREDENTIALS:
        raise ValueError(
            f"{value} says who the caller is; use `forward_headers`, so that answers are private "
            "to the caller"
        )
    return value


def _header_value(value: str) -> str:
    if _HEADER_VALUE.fullmatch(value) is None:  # RFC 9110 section 5.5
        raise ValueError("a header value is one line of ASCII, without control characters")
    return value


def _content_type(value: str) -> str:
    parse_entry(value)
    return value


def _json_schema(value: dict[str, Any]) -> dict[str, Any]:
    compile_schema(value)
    return value


JsonSchema = Annotated[
    dict[str, Any],
    AfterValidator(_json_schema),
    Field(title="JSON Schema", examples=[{"type": "object", "required": ["id"]}]),
]
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
JmesPath = Annotated[str, Field(title="JMESPath")]
Source = Annotated[
    str,
    Field(title="`upstream:/path?query`", examples=["books:/authors/{author_id}"]),
]


class TlsConfig(Model):
    """How the certificate of an https upstream is checked."""

    roots: Literal["certifi", "system", "none"] = "certifi"
    """Whom to trust to begin with: the list of the certifi package, the system's, or nobody."""
    ca_file: str | None = Field(default=None, examples=["/etc/ssl/our-ca.pem"])
    """PEM file with further CA certificates to trust."""
    client_cert: str | None = Field(default=None, examples=["/etc/ssl/gateway.pem"])
    """PEM file with the certificate that the gateway shows when asked."""
    client_key: str | None = Field(default=None, examples=["/etc/ssl/gateway.key"])
    """PEM file with the key to it, where that is not in the same file."""


class UpstreamConfig(Model):
    """A service that the gateway calls, and how it is protected and protected from."""

    base_url: BaseUrl
    """Absolute http(s) URL that every path of this upstream is appended to."""
    timeout: Positive = 5.0
    """Time for one attempt, from sending to the last byte."""
    connect_timeout: Positive = 2.0
    """Time for a new connection, TLS included."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | Literal["adaptive"] = 64
    """Calls in flight from this process at once; `adaptive` finds the bound from latency."""
    queue: Annotated[int, Field(ge=0, le=100_000)] = 256
    """Calls that may wait for a free place; more are refused at once."""
    queue_timeout: Positive = 1.0
    """The longest a call waits for a free place."""
    retry: RetryPolicy | None = None
    """Repeat failed attempts; `{}` takes the defaults."""
    hedge: HedgePolicy | None = None
    """Start a second attempt beside a slow one; `{}` takes the defaults."""
    breaker: BreakerPolicy | None = None
    """Leave a failing upstream alone for a while; `{}` takes the defaults."""
    cool_down: CoolDownPolicy | None = None
    """Heed Retry-After of 429 and 503 answers for all calls; `{}` takes the defaults."""
    cache: CachePolicy | None = None
    """How long answers are kept; without it nothing is kept."""
    headers: dict[HeaderName, HeaderValue] = Field(
        default={}, examples=[{"x-api-key": "${API_KEY}"}]
    )
    """Header fields sent with every call."""
    forward_headers: list[HeaderName] = []
    """Header fields of the client's request that are passed on; answers are kept apart by them."""
    propagate_headers: list[PropagatedName] = list(_PROPAGATED)
    """Header fields of the client's request that are passed on and tell no answers apart, such as
    those of a trace. By default traceparent, tracestate and x-request-id; `[]` propagates none."""
    deadline_header: HeaderName | None = Field(default=None, examples=["x-deadline-ms"])
    """Header field that tells the upstream how many milliseconds are left."""
    transport: Literal["native", "httpx"] = Field(default="native", examples=["httpx"])
    """`native` is HTTP/1.1 and fast; `httpx` is the stock transport."""
    proxy: ProxyUrl | None = None
    """URL of a proxy, with `transport: httpx`; none is ever taken from the environment."""
    connections: Annotated[int, Field(ge=1, le=10_000)] | None = Field(default=None, examples=[100])
    """Open connections at most; by default as many as `concurrency` allows."""
    tls: TlsConfig = Field(default=TlsConfig(), examples=[{"ca_file": "/etc/ssl/our-ca.pem"}])
    """How its certificate is checked."""
    max_body: Size = Field(default=8 * 1024 * 1024, validate_default=True)
    """Bytes of an answer at most, before and after decompression."""
    max_depth: Annotated[int, Field(ge=1, le=DEEPEST)] = 64
    """Levels of nesting in an answer at most."""
    content_types: list[ContentType] | Literal["any"] = []
    """Media types that are read as JSON beside JSON's own, such as `text/html`; in every charset
    that an answer declares, or in the one that is named (`application/json; charset=iso-8859-1`).
    `any` lets everything in that is JSON."""
    answer: JsonSchema | None = None
    """JSON Schema that every answer must meet; in OpenAPI it types the sections that have none."""
    expose_errors: bool = False
    """End the `detail` of an error with the first 512 characters of what the upstream said.
    By default only the gateway's own log shows it, as it may hold anything."""

    @model_validator(mode="after")
    def _proxied(self) -> UpstreamConfig:
        if self.proxy is not None and self.transport != "httpx":
            raise ValueError("`proxy` goes with `transport: httpx`")
        return self

    @model_validator(mode="after")
    def _one_value(self) -> UpstreamConfig:
        places = {name.lower(): "headers" for name in self.headers}
        if self.deadline_header is not None:
            places.setdefault(self.deadline_header.lower(), "deadline_header")
        written = self.propagate_headers if "propagate_headers" in self.model_fields_set else ()
        for key, names in (("forward_headers", self.forward_headers),
                           ("propagate_headers", written)):  # fmt: skip
            for at, name in enumerate(names):
                first = places.setdefault(name.lower(), key)
                if first != key:
                    raise _MisplacedError(
                        f"{name} stands in `{first}` and in `{key}`: choose one", (key, at)
                    )
        return self

    @property
    def propagated(self) -> tuple[str, ...]:
        """Names of the fields to propagate: of the default ones those with no other place."""
        taken = {name.lower() for name in (*self.headers, *self.forward_headers)}
        taken.add((self.deadline_header or "").lower())
        return tuple(name for name in self.propagate_headers if name.lower() not in taken)


class ForEachConfig(Model):
    """Run a section once for each element of a list."""

    in_: Annotated[str, Field(alias="in", examples=["{posts}"])]
    """Reference to the list: an array parameter or a section's value, such as `{posts[*].id}`."""
    as_: Annotated[Name, Field(alias="as", examples=["post"])] = "item"
    """Name of the current element in the section's references."""
    key: JmesPath | None = Field(default=None, examples=["id"])
    """JMESPath of an element's key; the section becomes an object by key instead of a list."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Elements that are fetched at most; those beyond it are reported, not fetched."""
    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 8
    """Elements in flight at once."""
    batch: Annotated[int, Field(ge=1, le=1_000)] | None = Field(default=None, examples=[50])
    """Fetch up to so many elements with one call that repeats the query pair (`?id=1&id=2`)."""
    match: JmesPath = "id"
    """With `batch`: JMESPath into each answered object of the value it was asked for by."""
    many: bool = False
    """With `batch`: an element has a list of answered objects (none is an empty list)."""

    @property
    def element(self) -> str:
        """Name of the current element."""
        return self.as_


class RaceConfig(Model):
    """One runner of a race."""

    get: Source
    """`upstream:/path?query` with references in braces."""
    select: JmesPath | None = Field(default=None, examples=["current"])
    """JMESPath that brings this source's answer into the common shape."""


class SectionConfig(Model):
    """One named slot of a dashboard."""

    get: Source | None = None
    """`upstream:/path?query` with references in braces."""
    race: Annotated[list[Source | RaceConfig], Field(min_length=2, max_length=8)] | None = Field(
        default=None, examples=[["weather:/v1/now", "forecast:/today"]]
    )
    """Several sources asked at once; the first fresh answer wins, the others are cancelled. A stale
    one is held in reserve until no other can answer or the deadline comes."""
    for_each: str | ForEachConfig | None = Field(
        default=None, examples=[{"in": "{posts}", "as": "post", "key": "id"}]
    )
    """Fan out over a list: a reference, or a mapping with more to say."""
    when: JmesPath | None = Field(default=None, examples=["profile.active"])
    """JMESPath over parameters and sections; when it is not true the section is skipped."""
    select: JmesPath | None = Field(default=None, examples=["[:5].{id: id, title: title}"])
    """JMESPath that shapes the value; references see the value before it."""
    fallback: Any = Field(default=None, examples=[[]])
    """Value to serve when the section fails."""
    required: bool = False
    """Without this section there is no answer at all."""
    hidden: bool = False
    """Fetched for other sections to refer to, not part of the answer."""
    cache: CachePolicy | None = None
    """Freshness of this section where it differs from its upstream's."""
    answer: JsonSchema | None = None
    """JSON Schema that the upstream's answer must meet (of a list, that to each element), and that
    types the section in OpenAPI. What does not meet it fails the section. It is kept all the same,
    as others may think otherwise; what no section may use is for the upstream's `answer`."""
    description: str | None = Field(default=None, examples=["The latest posts"])
    """What it is, for OpenAPI."""

    @model_validator(mode="after")
    def _one_source(self) -> SectionConfig:
        if (self.get is None) == (self.race is None):
            raise ValueError("a section needs one source: either `get` or `race`")
        if self.race is not None and self.for_each is not None:
            raise ValueError("`for_each` goes with `get`, not with `race`")
        return self

    @property
    def has_fallback(self) -> bool:
        """Whether a fallback was written, `null` included."""
        return "fallback" in self.model_fields_set


class DashboardConfig(Model):
    """One aggregated endpoint."""

    path: Annotated[str, Field(pattern=r"^/", examples=["/authors/{author_id}"])]
    """Path of the endpoint; `{parameter}` stands for one segment."""
    parameters: dict[Name, dict[str, Any]] = Field(
        default={},
        title="mapping of names to JSON Schemas",
        examples=[{"author_id": {"type": "integer", "minimum": 1}}],
    )
    """JSON Schema of each parameter; those not in the path are query parameters."""
    deadline: Positive = 5.0
    """Time for the whole answer."""
    sections: Annotated[
        dict[Name, SectionConfig],
        Field(
            min_length=1,
            max_length=100,
            examples=[{"author": {"get": "books:/authors/{author_id}"}}],
        ),
    ]
    """The slots of the answer, in their order."""
    summary: str | None = Field(default=None, examples=["An author and their books"])
    """One line, for OpenAPI."""
    description: str | None = Field(default=None, examples=["The ten newest books."])
    """More lines, for OpenAPI."""
    tags: list[str] = Field(default=[], examples=[["authors"]])
    """Groups in OpenAPI; also names for purging what is cached."""
    prefetch: Duration | None = Field(default=None, examples=["30s"])
    """Keep the answer without parameters warm by asking for it this often."""


class Config(Model):
    """The whole document."""

    upstreams: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=MAX_NAME)],
             UpstreamConfig],
        Field(min_length=1, examples=[{"books": {"base_url": "https://api.example.com"}}]),
    ]  # fmt: skip
    """The services that are called, by name."""
    dashboards: Annotated[
        dict[Name, DashboardConfig],
        Field(
            min_length=1,
            examples=[{"now": {"path": "/now", "sections": {"news": {"get": "books:/news"}}}}],
        ),
    ]
    """The aggregated endpoints, by name."""
