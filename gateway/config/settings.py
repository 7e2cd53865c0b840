"""Settings of the process, from the environment: `GATEWAY_*`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.errors import ConfigError, Diagnostic
from gateway.values.units import Size

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Settings"]

_PREFIX = "GATEWAY_"
_PORT = 8000
_ADMIN_PORT = 8001


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _no_service_link(default: int) -> BeforeValidator:
    """Ignore GATEWAY_PORT=tcp://..., which Kubernetes sets for a Service named `gateway`."""

    def ignore(value: Any) -> Any:
        link = isinstance(value, str) and value.startswith(("tcp://", "udp://"))
        return default if link else value

    return BeforeValidator(ignore)


Level = Annotated[Literal["critical", "error", "warning", "info", "debug"], BeforeValidator(_lower)]


class Settings(BaseSettings):
    """What differs from one deployment to the next; everything else is in the configuration.

    A variable that is set and empty counts as not set, because `NAME=${NAME:-}` in a compose file
    sets empty variables: an empty token is not a token.
    """

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="ignore", use_attribute_docstrings=True,
        hide_input_in_errors=True, env_ignore_empty=True,
    )  # fmt: skip

    host: str = Field(default="127.0.0.1", examples=["0.0.0.0"])  # noqa: S104 - an example
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535), _no_service_link(_PORT)] = _PORT
    """Port to listen on."""
    admin_host: str = Field(default="127.0.0.1", examples=["0.0.0.0"])  # noqa: S104 - an example
    """Address on which the admin application listens: /metrics, /healthz, /readyz and /admin/."""
    admin_port: Annotated[int, Field(ge=0, le=65535), _no_service_link(_ADMIN_PORT)] = _ADMIN_PORT
    """Port of the admin application. If it is not set and 8001 is in use, a free port is taken."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of worker processes."""
    redis_url: SecretStr | None = Field(default=None, examples=["redis://redis:6379/0"])
    """Enables the cache that replicas share. The URL starts with redis://, rediss://,
    redis+sentinel:// or redis+cluster://."""
    cache_memory: Size = Field(default=64 * 1024 * 1024, validate_default=True)
    """Maximum memory for cached answers in one process."""
    decoding_memory: Size = Field(default=32 * 1024 * 1024, validate_default=True)
    """Maximum bytes of large answers that one process decodes at once; upstreams take turns."""
    decoding_processes: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that decode the largest answers, started when the first one comes."""
    max_in_flight: Annotated[int, Field(ge=1)] = 10_000
    """Maximum number of requests in flight in one process, those that wait to be begun included;
    further ones get 503 and Retry-After."""
    live_clients: Annotated[int, Field(ge=0)] = 10_000
    """Maximum number of live streams of one process; further ones get 503 and Retry-After."""
    live_polls: Annotated[int, Field(ge=0)] = 1_000
    """Maximum number of different things that live streams of one process watch; clients with the
    same dashboard, parameters, sections and forwarded header fields share one."""
    drain_delay: Annotated[float, Field(ge=0, le=3600)] = 5
    """Seconds that the process goes on serving after SIGTERM, while /readyz already says 503."""
    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 20
    """Seconds that requests in flight have to finish after the delay."""
    keep_alive: Annotated[int, Field(ge=1, le=3600)] = 75
    """Seconds after which an idle connection of a client is closed."""
    max_connections: Annotated[int, Field(ge=1)] | None = Field(default=None, examples=[5000])
    """Maximum number of connections of clients to one process; further ones get 503. By default
    what the limit of open files (`ulimit -n`) leaves after the connections to upstreams and Redis,
    and at least a quarter of it."""
    max_request_line: Size = Field(default=16 * 1024, validate_default=True)
    """Maximum bytes of a request line; a longer one gets 414."""
    max_request_head: Size = Field(default=64 * 1024, validate_default=True)
    """Maximum bytes of a request line and all header fields; a larger head gets 431."""
    max_request_fields: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Maximum number of header fields of a request; more of them get 431."""
    max_unread_body: Size = Field(default=64 * 1024, validate_default=True)
    """Maximum bytes of a request's content, trailers included, that no route reads; beyond it the
    connection is closed after the answer."""
    head_timeout: Annotated[int, Field(ge=1, le=3600)] = 10
    """Seconds from the first byte of a request, or from the accepted connection, until its head is
    complete; a slower client gets 408."""
    body_timeout: Annotated[int, Field(ge=1, le=3600)] = 30
    """Seconds until the content of a request is complete; a slower client gets 408."""
    send_timeout: Annotated[int, Field(ge=1, le=3600)] = 30
    """Seconds after which the connection of a client that does not read its answer is closed."""
    log_level: Level = "info"
    """Least severe level that is logged."""
    log_format: Literal["text", "json"] = Field(default="text", examples=["json"])
    """Format of log lines."""
    admin_token: SecretStr | None = Field(default=None, examples=["a-long-random-text"])
    """What clients of `/admin/` send as a bearer token. Without it only this machine is served:
    GATEWAY_ADMIN_HOST has to be a loopback address."""
    root_path: str = Field(default="", examples=["/api"])
    """Path prefix that a proxy in front strips from every request."""
    docs: bool = True
    """Serve /docs and /openapi.json."""

    @classmethod
    def read(cls, environment: Mapping[str, Any] | None = None) -> Self:
        """Return the settings of the environment.

        Args:
            environment: values by field name, which override those of the environment.

        Raises:
            ConfigError: a variable has an invalid value; the message does not contain the value.
        """
        try:
            return cls(**(environment or {}))
        except ValidationError as error:
            raise ConfigError(
                [
                    Diagnostic(f"{_PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}")
                    for e in error.errors(include_input=False, include_url=False)
                ],
                "environment",
            ) from None
