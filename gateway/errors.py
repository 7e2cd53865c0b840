"""The error tree: everything that can go wrong, grouped by who decided it.

::

    GatewayError
    ├── ConfigError                 the configuration is invalid; carries every diagnostic
    └── CallError                   a section's call failed
        ├── Rejected                the gateway refused; it sent nothing more
        │   ├── DeadlineExceeded    deadline_exceeded
        │   ├── BreakerOpen         breaker_open
        │   ├── LimiterFull         limiter_full
        │   └── ListTruncated       list_truncated
        ├── Failed                  the upstream failed
        │   ├── UpstreamTimeout     upstream_timeout
        │   ├── UpstreamUnreachable upstream_unreachable
        │   ├── UpstreamStatus      upstream_status
        │   └── UpstreamPayload     upstream_payload
        ├── DependencyFailed        dependency_failed: a referenced input is missing
        └── ExpressionFailed        expression_failed: `when` or `select` rejects the value

Only `Failed` counts for a breaker and only `Failed` is retried. `gateway.web` decides how a client
sees these errors (status codes, problem documents).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "REPEATED_STATUSES",
    "BreakerOpen",
    "CallError",
    "ConfigError",
    "DeadlineExceeded",
    "DependencyFailed",
    "Diagnostic",
    "ErrorCode",
    "ExpressionFailed",
    "Failed",
    "GatewayError",
    "LimiterFull",
    "ListTruncated",
    "Rejected",
    "StatusMeaning",
    "UpstreamPayload",
    "UpstreamStatus",
    "UpstreamTimeout",
    "UpstreamUnreachable",
    "meaning_of",
]


class ErrorCode(StrEnum):
    """The closed set of reasons why a section is not `ok`; part of the public API."""

    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_STATUS = "upstream_status"
    UPSTREAM_PAYLOAD = "upstream_payload"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    BREAKER_OPEN = "breaker_open"
    LIMITER_FULL = "limiter_full"
    LIST_TRUNCATED = "list_truncated"
    DEPENDENCY_FAILED = "dependency_failed"
    EXPRESSION_FAILED = "expression_failed"


class GatewayError(Exception):
    """Base of every error the gateway raises on purpose."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake in a configuration.

    Attributes:
        message: what is wrong, in one line, with a suggestion where there is one.
        location: keys and indexes that lead from the document's root to the offending node.
        at_key: the mistake is the key itself (an unknown key), not its value.
        offset: characters from the start of a scalar's text to the mistake inside it.
        line: line in the file, 1-based; 0 until the loader sets it.
        column: column in the file, 1-based; 0 until the loader sets it.
    """

    message: str
    location: tuple[str | int, ...] = ()
    at_key: bool = False
    offset: int = 0
    line: int = 0
    column: int = 0


class ConfigError(GatewayError):
    """The configuration is invalid.

    Attributes:
        diagnostics: every mistake found, in the order of the file.
        file: the name of the file, for `file:line:col: message` lines.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic], file: str = "<config>") -> None:
        self.diagnostics = tuple(diagnostics)
        self.file = file
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return one `file:line:col: message` line per diagnostic, with its position if known."""
        return [
            f"{self.file}{f':{f.line}:{f.column}' if f.line else ''}: {f.message}"
            for f in self.diagnostics
        ]


class CallError(GatewayError):
    """A section's call failed.

    Attributes:
        code: the public reason.
        retryable: whether the same request may succeed a moment later.
        upstream: name of the upstream, `None` where no upstream is to blame.
        status: the upstream's HTTP status, if it sent one.
        detail: one sentence for a human; never contains payload, credentials or addresses, except
            the target of a redirect.
        retry_after: seconds that the upstream (or the gateway) asks callers to wait.
        excerpt: the beginning of a bad answer, for logs. It is the upstream's own text and may
            contain anything: it is not part of an answer unless the upstream is declared with
            `expose_errors`; `detail` then ends with it.
        cause: the transport's error where there was no answer, for logs only: it may name
            addresses.
        shed: the gateway dropped the call, unstarted, because of its own limits.
    """

    code: ClassVar[ErrorCode]
    retryable: bool = False

    def __init__(
        self,
        detail: str,
        *,
        upstream: str | None = None,
        status: int | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        excerpt: str = "",
        cause: str = "",
        shed: bool = False,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.upstream = upstream
        self.status = status
        self.retry_after = retry_after
        self.excerpt = excerpt
        self.cause = cause
        self.shed = shed
        if retryable is not None:
            self.retryable = retryable


class Rejected(CallError):
    """The gateway refused: it sent no request, or no further one."""

    retryable = True


class DeadlineExceeded(Rejected):
    """The deadline of the whole request has passed."""

    code = ErrorCode.DEADLINE_EXCEEDED


class BreakerOpen(Rejected):
    """The upstream failed too often recently and is not called for a while."""

    code = ErrorCode.BREAKER_OPEN


class LimiterFull(Rejected):
    """A bound on concurrency was reached."""

    code = ErrorCode.LIMITER_FULL


class ListTruncated(Rejected):
    """A list is longer than its limit; the elements beyond it were not fetched."""

    code = ErrorCode.LIST_TRUNCATED
    retryable = False


class Failed(CallError):
    """The upstream failed: it was called and did not send a good answer.

    Attributes:
        fault: the upstream is at fault, not the request.
        overloaded: the upstream asks for fewer calls.
    """

    fault: bool = True
    overloaded: bool = False


class UpstreamTimeout(Failed):
    """The upstream sent no complete answer within the time for one attempt."""

    code = ErrorCode.UPSTREAM_TIMEOUT
    retryable = True


class UpstreamUnreachable(Failed):
    """No connection could be made, or it broke before the answer was complete."""

    code = ErrorCode.UPSTREAM_UNREACHABLE
    retryable = True


class StatusMeaning(NamedTuple):
    """The meaning of an upstream's status.

    Attributes:
        retryable: the same request may succeed a moment later.
        repeat: retried by default: the request was not processed, or a gateway in front of the
            upstream says so. A 500 is not, because a retry may repeat the damage.
        overloaded: the whole upstream wants fewer calls: its Retry-After applies to every call, and
            an adaptive concurrency limit counts it as a drop.
        fault: the upstream is at fault, not the request: a breaker counts it.
    """

    retryable: bool = False
    repeat: bool = False
    overloaded: bool = False
    fault: bool = False


_MEANINGS = {
    # RFC 9110 section 15, RFC 6585 section 4, RFC 8470 section 5.2
    408: StatusMeaning(retryable=True, fault=True),
    425: StatusMeaning(retryable=True, fault=True),
    429: StatusMeaning(retryable=True, repeat=True, overloaded=True, fault=True),
    500: StatusMeaning(retryable=True, fault=True),
    502: StatusMeaning(retryable=True, repeat=True, fault=True),
    503: StatusMeaning(retryable=True, repeat=True, overloaded=True, fault=True),
    504: StatusMeaning(retryable=True, repeat=True, fault=True),
}
_SERVER_ERROR = StatusMeaning(fault=True)
_BAD_REQUEST = StatusMeaning()


def meaning_of(status: int | None) -> StatusMeaning:
    """Return the meaning of `status`: the one table for everything that acts on a status."""
    if status is None:
        return _SERVER_ERROR
    other = _SERVER_ERROR if status >= 500 else _BAD_REQUEST  # noqa: PLR2004 - RFC 9110 section 15.6
    return _MEANINGS.get(status, other)


REPEATED_STATUSES = frozenset(status for status, meaning in _MEANINGS.items() if meaning.repeat)
"""The statuses that are retried by default."""


class UpstreamStatus(Failed):
    """The upstream answered with `status`, which is not a success."""

    code = ErrorCode.UPSTREAM_STATUS

    def __init__(self, detail: str, *, status: int | None = None, **known: Any) -> None:
        meaning = meaning_of(status)
        known.setdefault("retryable", meaning.retryable)
        super().__init__(detail, status=status, **known)
        self.overloaded = meaning.overloaded
        self.fault = meaning.fault


class UpstreamPayload(Failed):
    """The upstream's answer is rejected: not JSON, too large, too deep, or against its schema."""

    code = ErrorCode.UPSTREAM_PAYLOAD


class DependencyFailed(CallError):
    """An input that the section refers to is missing."""

    code = ErrorCode.DEPENDENCY_FAILED


class ExpressionFailed(CallError):
    """An expression of the configuration cannot be applied to the value."""

    code = ErrorCode.EXPRESSION_FAILED
