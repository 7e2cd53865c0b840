"""HTTP operations for tests that call a stack or a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.upstreams.http.operation import HttpOperation

if TYPE_CHECKING:
    from gateway.call import Request

__all__ = ["http", "target_of"]


def http(request: Request) -> HttpOperation:
    """Return the operation of a request as what it is."""
    assert isinstance(request.operation, HttpOperation)
    return request.operation


def target_of(request: Request) -> str:
    return http(request).target
