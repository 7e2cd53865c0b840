"""The error tree is part of the public face: its codes, whose fault each is, what is retried."""

from __future__ import annotations

import pytest

from gateway import errors
from gateway.errors import CallError, ConfigError, Diagnostic, ErrorCode, Failed, Rejected


@pytest.mark.parametrize(
    ("kind", "code", "decided", "retryable"),
    [
        (errors.UpstreamTimeout, "upstream_timeout", Failed, True),
        (errors.UpstreamUnreachable, "upstream_unreachable", Failed, True),
        (errors.UpstreamStatus, "upstream_status", Failed, False),
        (errors.UpstreamPayload, "upstream_payload", Failed, False),
        (errors.DeadlineExceeded, "deadline_exceeded", Rejected, True),
        (errors.BreakerOpen, "breaker_open", Rejected, True),
        (errors.LimiterFull, "limiter_full", Rejected, True),
        (errors.ListTruncated, "list_truncated", Rejected, False),
        (errors.DependencyFailed, "dependency_failed", None, False),
        (errors.ExpressionFailed, "expression_failed", None, False),
    ],
)
def test_each_code_says_who_decided_and_whether_again(
    kind: type[CallError], code: str, decided: type[CallError] | None, *, retryable: bool
) -> None:
    error = kind("why")
    assert (error.code, error.retryable, error.detail, str(error)) == (
        code,
        retryable,
        "why",
        "why",
    )
    assert (error.upstream, error.status, error.retry_after) == (None, None, None)
    assert [base for base in (Failed, Rejected) if isinstance(error, base)] == (
        [decided] if decided else []
    )


def test_the_table_above_is_the_whole_tree() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = [kind.code for kind in kinds if issubclass(kind, CallError) and hasattr(kind, "code")]
    assert sorted(codes) == sorted(ErrorCode)
    assert len(ErrorCode) == 10


@pytest.mark.parametrize("retryable", [True, False])
def test_one_error_can_differ_from_its_kind(*, retryable: bool) -> None:
    error = errors.UpstreamStatus("x", retryable=retryable)
    assert error.retryable is retryable
    assert errors.UpstreamStatus.retryable is False


def test_diagnostics_without_a_position_are_printed_without_one() -> None:
    error = ConfigError([Diagnostic("first"), Diagnostic("second", ("a", 0), line=2, column=7)])
    assert error.lines() == ["<config>: first", "<config>:2:7: second"]
    assert str(error) == "<config>: first\n<config>:2:7: second"
    assert isinstance(error, errors.GatewayError)
    assert not isinstance(error, CallError)


@pytest.mark.parametrize(
    ("status", "retryable", "repeat", "overloaded", "fault"),
    [
        (301, False, False, False, False),
        (404, False, False, False, False),
        (408, True, False, False, True),
        (425, True, False, False, True),
        (429, True, True, True, True),
        (500, True, False, False, True),
        (501, False, False, False, True),
        (502, True, True, False, True),
        (503, True, True, True, True),
        (504, True, True, False, True),
        (599, False, False, False, True),
    ],
)
def test_one_table_says_what_a_status_means(
    status: int, *, retryable: bool, repeat: bool, overloaded: bool, fault: bool
) -> None:
    error = errors.UpstreamStatus("no", status=status)
    assert (error.retryable, error.overloaded, error.fault) == (retryable, overloaded, fault)
    assert (status in errors.REPEATED_STATUSES) == repeat
