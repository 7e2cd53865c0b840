"""The configuration as pydantic models: the keys and values of `gateway.yaml`.

The models check shapes and single values. `gateway.plan` checks what needs the whole document
(references, cycles, paths), and `gateway.plan.load` gives every mistake its position.
The docstrings of attributes become the descriptions in the JSON Schema that editors show.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    model_validator,
)

from gateway.expressions.json_schema import compile_schema
from gateway.expressions.nesting import DEEPEST
from gateway.layers.breaker import BreakerPolicy
from gateway.layers.cache import CachePolicy
from gateway.layers.concurrency import ConcurrencyPolicy
from gateway.layers.cooldown import CoolDownPolicy
from gateway.layers.hedge import HedgePolicy
from gateway.layers.retry import RetryPolicy
from gateway.layers.timeout import TimeoutPolicy
from gateway.values.units import Duration, Positive, Size

__all__ = [
    "Config",
    "CorsConfig",
    "DashboardConfig",
    "ForEachConfig",
    "LiveConfig",
    "MisplacedError",
    "Model",
    "RaceConfig",
    "SectionConfig",
    "UpstreamConfig",
    "WebConfig",
    "WebSocketConfig",
]

NAME = r"^[A-Za-z_][A-Za-z0-9_]*\Z"
UPSTREAM_NAME = r"^[A-Za-z_][A-Za-z0-9_-]*\Z"
MAX_NAME = 64
RENAMED = "answer"
"""The name of `schema` before: an alias for one release, which `check` warns of."""

Name = Annotated[str, Field(title="name", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=MAX_NAME)]


class MisplacedError(ValueError):
    """A value is wrong at `location`, the path from the model to it."""

    def __init__(self, message: str, location: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.location = location


class Model(BaseModel):
    """Base of the configuration: frozen, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=False
    )


def _json_schema(value: dict[str, Any]) -> dict[str, Any]:
    compile_schema(value)
    return value


JsonSchema = Annotated[
    dict[str, Any],
    AfterValidator(_json_schema),
    Field(title="JSON Schema", examples=[{"type": "object", "required": ["id"]}]),
]
AnswerSchema = Annotated[
    JsonSchema | None,
    Field(validation_alias=AliasChoices("schema", RENAMED), serialization_alias="schema"),
]
JmesPath = Annotated[str, Field(title="JMESPath")]
Source = Annotated[
    str,
    Field(title="`upstream:/path?query`", examples=["books:/authors/{author_id}"]),
]


_MOST_ADAPTIVE = 200
"""The highest limit that `concurrency: adaptive` allows."""


class UpstreamConfig(Model, ConcurrencyPolicy, TimeoutPolicy):
    """The keys that upstreams of every kind share: the limits and layers around their calls.

    Every upstream has a timeout and a concurrency limit, so the keys of these policies are its own.
    """

    retry: RetryPolicy | None = None
    """Retry failed attempts; `{}` takes the defaults."""
    hedge: HedgePolicy | None = None
    """Start a second attempt when the first is slow; `{}` takes the defaults."""
    breaker: BreakerPolicy | None = None
    """Stop calling a failing upstream for a while; `{}` takes the defaults."""
    cool_down: CoolDownPolicy | None = None
    """Honor Retry-After of 429 and 503 answers for all calls; `{}` takes the defaults."""
    cache: CachePolicy | None = None
    """How long answers are cached; without it nothing is cached."""
    max_body: Size = Field(default=8 * 1024 * 1024, validate_default=True)
    """Largest answer in bytes, before and after decompression."""
    max_depth: Annotated[int, Field(ge=1, le=DEEPEST)] = 64
    """Maximum levels of nesting in an answer."""
    schema_: AnswerSchema = None
    """JSON Schema that every answer must meet; in OpenAPI it types sections without their own."""
    expose_errors: bool = False
    """Append the first 512 characters of the upstream's body to the `detail` of an error.
    By default only the gateway's log shows them, because they may be confidential."""

    @property
    def apart_by(self) -> tuple[str, ...]:
        """Names of client header fields that are part of a cached answer's identity."""
        return ()

    @property
    def most_connections(self) -> int:
        """Connections that one process opens at most."""
        return _MOST_ADAPTIVE if self.concurrency == "adaptive" else self.concurrency


class ForEachConfig(Model):
    """Run a section once for each element of a list."""

    in_: Annotated[str, Field(alias="in", examples=["{posts}"])]
    """Reference to the list: an array parameter or a section's value, such as `{posts[*].id}`."""
    as_: Annotated[Name, Field(alias="as", examples=["post"])] = "item"
    """Name of the current element in the section's references."""
    key: JmesPath | None = Field(default=None, examples=["id"])
    """JMESPath of an element's key; the section becomes an object by key instead of a list."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Maximum number of elements that are fetched; those beyond it are reported, not fetched."""
    concurrency: Annotated[int, Field(ge=1, le=1_000)] = 8
    """Maximum number of elements in flight at once."""
    batch: Annotated[int, Field(ge=1, le=1_000)] | None = Field(default=None, examples=[50])
    """Fetch up to this many elements with one call that repeats the query pair (`?id=1&id=2`)."""
    match: JmesPath = "id"
    """With `batch`: JMESPath of the value in each returned object that matches it to an element."""
    many: bool = False
    """With `batch`: each element gets a list of objects, which may be empty."""

    @property
    def element(self) -> str:
        """Name of the current element."""
        return self.as_


class RaceConfig(Model):
    """One source of a race."""

    get: Source
    """`upstream:/path?query` with references in braces."""
    select: JmesPath | None = Field(default=None, examples=["current"])
    """JMESPath that converts this source's answer to the common shape."""


class SectionConfig(Model):
    """One named slot of a dashboard."""

    get: Source | None = None
    """`upstream:/path?query` with references in braces."""
    race: Annotated[list[Source | RaceConfig], Field(min_length=2, max_length=8)] | None = Field(
        default=None, examples=[["weather:/v1/now", "forecast:/today"]]
    )
    """Several sources called at once; the first fresh answer wins and the others are cancelled.
    A stale answer is held in reserve until no other can arrive or the deadline passes."""
    for_each: str | ForEachConfig | None = Field(
        default=None, examples=[{"in": "{posts}", "as": "post", "key": "id"}]
    )
    """Fan out over a list: a reference, or a mapping with more options."""
    when: JmesPath | None = Field(default=None, examples=["profile.active"])
    """JMESPath over parameters and sections; unless it is true, the section is skipped."""
    select: JmesPath | None = Field(default=None, examples=["[:5].{id: id, title: title}"])
    """JMESPath that shapes the value; references see the value before it."""
    fallback: Any = Field(default=None, examples=[[]])
    """Value to serve when the section fails."""
    required: bool = False
    """If this section fails, the whole answer is a problem."""
    hidden: bool = False
    """Fetched for other sections to refer to, not part of the answer."""
    cache: CachePolicy | None = None
    """Freshness of this section where it differs from the upstream's."""
    schema_: AnswerSchema = None
    """JSON Schema that the upstream's answer must meet (of a list, the answer to each element); it
    also types the section in OpenAPI. An answer that does not meet it fails this section but is
    still cached, because other sections may accept it. The upstream's `schema` applies to all."""
    description: str | None = Field(default=None, examples=["The latest posts"])
    """Description of the section in OpenAPI."""

    @model_validator(mode="after")
    def _one_source(self) -> SectionConfig:
        if (self.get is None) == (self.race is None):
            raise ValueError("a section needs exactly one source: either `get` or `race`")
        if self.race is not None and self.for_each is not None:
            raise ValueError("`for_each` goes with `get`, not with `race`")
        return self

    @property
    def has_fallback(self) -> bool:
        """Whether a fallback is declared, `null` included."""
        return "fallback" in self.model_fields_set


class LiveConfig(Model):
    """Streams of the dashboard stay open and get what changes."""

    every: Annotated[Positive, Field(ge=0.1, examples=["5s"])]
    """How often the dashboard is polled, at most; at least 100 ms."""


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
    """Maximum time for the whole answer."""
    sections: Annotated[
        dict[Name, SectionConfig],
        Field(
            min_length=1,
            max_length=100,
            examples=[{"author": {"get": "books:/authors/{author_id}"}}],
        ),
    ]
    """The sections of the answer, in order."""
    summary: str | None = Field(default=None, examples=["An author and their books"])
    """Summary in OpenAPI, one line."""
    description: str | None = Field(default=None, examples=["The ten newest books."])
    """Description in OpenAPI, any number of lines."""
    tags: list[str] = Field(default=[], examples=[["authors"]])
    """Tags in OpenAPI; cached answers can also be purged by them."""
    prefetch: Duration | None = Field(default=None, examples=["30s"])
    """Fetch the answer with default parameters this often, so that it stays cached."""
    live: LiveConfig | None = Field(default=None, examples=[{"every": "5s"}])
    """Let streams stay open and get what changes; by default they end with the document."""


_ANY = "*"
_ORIGIN = re.compile(
    r"https?://(?:\*\.)?(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?"
)
_LEFT_OUT = {"http": "80", "https": "443"}
_FIELD_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"


def _origin(text: str) -> str:
    """Check an origin as browsers write it: they compare bytes, so what differs never matches."""
    if text == _ANY:
        return text
    match = _ORIGIN.fullmatch(text)
    if match is None:
        if text.lower() != text and _ORIGIN.fullmatch(text.lower()):
            raise ValueError(f"browsers write origins in lower case; write {text.lower()}")
        if _ORIGIN.fullmatch(text.rstrip("/")):
            raise ValueError(f"an origin has no path and no slash at its end; write {text[:-1]}")
        raise ValueError(
            "an origin is a scheme and a host, such as https://app.example.com, "
            "https://*.example.com for all its sub-domains, or * for every origin"
        )
    scheme = text.partition(":")[0]
    if match["port"] == _LEFT_OUT[scheme]:
        without = text.removesuffix(f":{match['port']}")
        raise ValueError(f"browsers leave out the default port; write {without}")
    if "*." in text and "." not in match["host"]:
        raise ValueError("a pattern of a whole top-level domain would let anyone in")
    return text


Origin = Annotated[
    str,
    AfterValidator(_origin),
    Field(title="origin", examples=["https://app.example.com", "https://*.example.com"]),
]


class CorsConfig(Model):
    """Which other origins a browser lets read answers (CORS)."""

    origins: Annotated[list[Origin], Field(min_length=1, examples=[["https://app.example.com"]])]
    """Origins that may read answers, as browsers write them; `https://*.example.com` means all
    sub-domains, `*` every origin."""
    credentials: bool = False
    """Let browsers send cookies and other credentials of their own; not with the origin `*`."""
    max_age: Duration = Field(default=7200.0, examples=["10m"])
    """How long a browser remembers that it may ask; Chromium remembers for two hours at most."""
    exposed_headers: list[Annotated[str, Field(pattern=_FIELD_NAME)]] = Field(
        default=[], examples=[["X-Tenant"]]
    )
    """Header fields of answers that scripts may read, besides ETag, Age, Cache-Status,
    Server-Timing, Retry-After and X-Request-Id."""

    @model_validator(mode="after")
    def _no_credentials_for_all(self) -> CorsConfig:
        if self.credentials and _ANY in self.origins:
            raise MisplacedError(
                "credentials need a list of origins; browsers refuse them together with *",
                ("credentials",),
            )
        return self


class CompressionConfig(Model):
    """How answers are compressed; a client chooses by `Accept-Encoding`."""

    min_size: Size = Field(default=1024, validate_default=True)
    """Smallest body that is compressed."""
    codings: Annotated[list[Literal["zstd", "br", "gzip"]], Field(min_length=1)] = Field(
        default=["zstd", "br", "gzip"], examples=[["br", "gzip"]]
    )
    """Content codings that are offered; of those that a client likes equally the first is taken."""
    private: bool = False
    """Compress private answers of every dashboard. By default those of a dashboard that takes text
    from the client are sent as they are, because their length could betray what is in them."""


class BatchConfig(Model):
    """Many dashboards with one request: `POST /batch`."""

    max_requests: Annotated[int, Field(ge=1, le=1000)] = 20
    """Maximum number of requests in a batch."""
    max_body: Size = Field(default=64 * 1024, validate_default=True)
    """Largest batch in bytes."""


class WebSocketConfig(Model):
    """The WebSocket `/live`, for many subscriptions on one connection."""

    max_subscriptions: Annotated[int, Field(ge=1, le=1000)] = 32
    """Maximum number of subscriptions of one connection."""
    max_message: Size = Field(default=16 * 1024, validate_default=True)
    """Maximum bytes of a message of a client; a larger one closes the connection with 1009."""


class WebConfig(Model):
    """What the gateway offers to browsers and other clients."""

    cors: CorsConfig | None = None
    """Let pages of other origins read answers; without it browsers do not."""
    compression: CompressionConfig | Literal[False] = Field(
        default=CompressionConfig(), examples=[{"min_size": "4KiB"}]
    )
    """Compress answers; on by default, `false` turns it off."""
    batch: BatchConfig | None = None
    """Answer `POST /batch`; `{}` takes the defaults, without it there are no batches."""
    websocket: WebSocketConfig | None = Field(default=None, examples=[{}])
    """Serve subscriptions on the WebSocket `/live`; pages of other origins need `cors`."""


class Config(Model):
    """The whole document."""

    web: WebConfig = Field(
        default=WebConfig(), examples=[{"cors": {"origins": ["https://app.example.com"]}}]
    )
    """CORS and what else concerns all dashboards."""
    upstreams: Annotated[
        dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=MAX_NAME)],
             SerializeAsAny[UpstreamConfig]],
        Field(min_length=1, examples=[{"books": {"base_url": "https://api.example.com"}}]),
    ]  # fmt: skip
    """The services that the gateway calls, by name."""
    dashboards: Annotated[
        dict[Name, DashboardConfig],
        Field(
            min_length=1,
            examples=[{"now": {"path": "/now", "sections": {"news": {"get": "books:/news"}}}}],
        ),
    ]
    """The endpoints that the gateway serves, by name."""
