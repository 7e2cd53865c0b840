"""The error tree: everything that can go wrong, by whose decision it was.

::

    GatewayError
    ├── ConfigError                 the configuration cannot be used; carries every diagnostic
    └── CallError                   a section's call came to nothing
        ├── Rejected                we refused; nothing more was sent
        │   ├── DeadlineExceeded    deadline_exceeded
        │   ├── BreakerOpen         breaker_open
        │   ├── LimiterFull         limiter_full
        │   └── ListTruncated       list_truncated
        ├── Failed                  they failed
        │   ├── UpstreamTimeout     upstream_timeout
        │   ├── UpstreamUnreachable upstream_unreachable
        │   ├── UpstreamStatus      upstream_status
        │   └── UpstreamPayload     upstream_payload
        ├── DependencyFailed        dependency_failed: an input it refers to is not there
        └── ExpressionFailed        expression_failed: `when` or `select` cannot take the value

Only `Failed` moves a breaker and only `Failed` is retried. What a caller of the gateway gets to see
of these (status codes, problem documents) is decided in `gateway.web`, not here.
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
    """The closed set of reasons a section can give for not being `ok`; part of the public face."""

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
        location: keys and indexes that lead to the offending node from the document's root.
        at_key: the mistake is the key itself (an unknown key), not its value.
        offset: characters from the start of a scalar's text to the mistake inside it.
        line: line in the file, 1-based; 0 until the loader has placed the diagnostic.
        column: column in the file, 1-based; 0 until the loader has placed the diagnostic.
    """

    message: str
    location: tuple[str | int, ...] = ()
    at_key: bool = False
    offset: int = 0
    line: int = 0
    column: int = 0


class ConfigError(GatewayError):
    """The configuration cannot be used.

    Attributes:
        diagnostics: every mistake found, in the order of the file.
        file: the name of the file that was read, for `file:line:col: message` lines.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic], file: str = "<config>") -> None:
        self.diagnostics = tuple(diagnostics)
        self.file = file
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return one `file:line:col: message` line for each diagnostic, its place where known."""
        return [
            f"{self.file}{f':{f.line}:{f.column}' if f.line else ''}: {f.message}"
            for f in self.diagnostics
        ]


class CallError(GatewayError):
    """A section's call came to nothing.

    Attributes:
        code: the public reason.
        retryable: whether the same request may well succeed a moment later.
        upstream: name of the upstream, `None` where no upstream is to blame.
        status: the upstream's HTTP status where it answered one.
        detail: one sentence for a human; never holds payload, credentials or addresses, but for
            the one that an upstream redirects to.
        retry_after: seconds that the upstream (or we) asked callers to wait.
        excerpt: the beginning of what the upstream said, where it gave a bad answer, for logs. It
            is the upstream's own text and may hold anything: it is no part of an answer unless the
            upstream is declared with `expose_errors`, and then `detail` ends with it.
        cause: what the transport said, where a call never came to an answer, for logs only: it may
            name addresses.
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
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.upstream = upstream
        self.status = status
        self.retry_after = retry_after
        self.excerpt = excerpt
        self.cause = cause
        if retryable is not None:
            self.retryable = retryable


class Rejected(CallError):
    """We refused: no request was sent, or no further one."""

    retryable = True


class DeadlineExceeded(Rejected):
    """The time for the whole request is spent."""

    code = ErrorCode.DEADLINE_EXCEEDED


class BreakerOpen(Rejected):
    """The upstream has failed too often of late; it is left alone for a while."""

    code = ErrorCode.BREAKER_OPEN


class LimiterFull(Rejected):
    """A bound on concurrency was reached."""

    code = ErrorCode.LIMITER_FULL


class ListTruncated(Rejected):
    """A list is longer than its limit; the elements beyond it were not fetched."""

    code = ErrorCode.LIST_TRUNCATED
    retryable = False


class Failed(CallError):
    """They failed: the upstream was called and gave no good answer.

    Attributes:
        fault: it speaks against the upstream rather than against the request.
        overloaded: the upstream asks for fewer calls.
    """

    fault: bool = True
    overloaded: bool = False


class UpstreamTimeout(Failed):
    """No (complete) answer within the time for one attempt."""

    code = ErrorCode.UPSTREAM_TIMEOUT
    retryable = True


class UpstreamUnreachable(Failed):
    """No connection, or the connection broke before a complete answer."""

    code = ErrorCode.UPSTREAM_UNREACHABLE
    retryable = True


class StatusMeaning(NamedTuple):
    """What an upstream says with a status.

    Attributes:
        retryable: the same request may well succeed a moment later.
        repeat: worth another attempt at once, by default: it was not processed, or a gateway in
            front of the upstream says so. A 500 is not, as a repetition may repeat the damage.
        overloaded: the upstream as a whole wants fewer calls: its Retry-After holds for every call,
            and an adaptive concurrency limit takes it for a drop.
        fault: it speaks against the upstream rather than against the request: a breaker counts it.
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
_GOOD_ANSWER_TO_A_BAD_QUESTION = StatusMeaning()


def meaning_of(status: int | None) -> StatusMeaning:
    """Return what an upstream says with `status`: the one table for everything that acts on it."""
    if status is None:
        return _SERVER_ERROR
    other = _SERVER_ERROR if status >= 500 else _GOOD_ANSWER_TO_A_BAD_QUESTION  # noqa: PLR2004 - RFC 9110 section 15.6
    return _MEANINGS.get(status, other)


REPEATED_STATUSES = frozenset(status for status, meaning in _MEANINGS.items() if meaning.repeat)
"""The statuses that are worth another attempt, by default."""


class UpstreamStatus(Failed):
    """The upstream answered with a status that is not a success; `status` is that status."""

    code = ErrorCode.UPSTREAM_STATUS

    def __init__(self, detail: str, *, status: int | None = None, **known: Any) -> None:
        meaning = meaning_of(status)
        known.setdefault("retryable", meaning.retryable)
        super().__init__(detail, status=status, **known)
        self.overloaded = meaning.overloaded
        self.fault = meaning.fault


class UpstreamPayload(Failed):
    """The upstream's answer is not let in: not JSON, too large, too deep, off its schema."""

    code = ErrorCode.UPSTREAM_PAYLOAD


class DependencyFailed(CallError):
    """An input that the section refers to is not there."""

    code = ErrorCode.DEPENDENCY_FAILED


class ExpressionFailed(CallError):
    """An expression of the configuration cannot take the value that it was given."""

    code = ErrorCode.EXPRESSION_FAILED
