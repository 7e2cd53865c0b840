"""The configuration as pydantic models: what may stand in `gateway.yaml`.

Shapes and single values are checked here; what needs the whole document (references, cycles,
paths) is checked by `gateway.plan`, and every mistake gets its position in `gateway.plan.load`.
The docstrings of attributes are the descriptions of the JSON Schema that editors show.
"""

from __future__ import annotations

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
from gateway.layers.cooldown import CoolDownPolicy
from gateway.layers.hedge import HedgePolicy
from gateway.layers.retry import RetryPolicy
from gateway.values.units import Duration, Positive, Size

__all__ = [
    "Config",
    "DashboardConfig",
    "ForEachConfig",
    "MisplacedError",
    "Model",
    "RaceConfig",
    "SectionConfig",
    "UpstreamConfig",
]

NAME = r"^[A-Za-z_][A-Za-z0-9_]*\Z"
UPSTREAM_NAME = r"^[A-Za-z_][A-Za-z0-9_-]*\Z"
MAX_NAME = 64
RENAMED = "answer"
"""The name of `schema` before: an alias for one release, which `check` warns of."""

Name = Annotated[str, Field(title="name", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=MAX_NAME)]


class MisplacedError(ValueError):
    """A value that is wrong at `location`, which leads from the model to it."""

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


class UpstreamConfig(Model):
    """What upstreams of every kind have: how they are protected, and protected from."""

    timeout: Positive = 5.0
    """Time for one attempt, from sending to the last byte."""
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
    max_body: Size = Field(default=8 * 1024 * 1024, validate_default=True)
    """Bytes of an answer at most, before and after decompression."""
    max_depth: Annotated[int, Field(ge=1, le=DEEPEST)] = 64
    """Levels of nesting in an answer at most."""
    schema_: AnswerSchema = None
    """JSON Schema that every answer must meet; in OpenAPI it types the sections that have none."""
    expose_errors: bool = False
    """End the `detail` of an error with the first 512 characters of what the upstream said.
    By default only the gateway's own log shows it, as it may hold anything."""

    @property
    def apart_by(self) -> tuple[str, ...]:
        """Names of what a client sends that keeps cached answers apart."""
        return ()


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
    schema_: AnswerSchema = None
    """JSON Schema that the upstream's answer must meet (of a list, that to each element), and that
    types the section in OpenAPI. What does not meet it fails the section. It is kept all the same,
    as others may think otherwise; what no section may use is for the upstream's `schema`."""
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
             SerializeAsAny[UpstreamConfig]],
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
