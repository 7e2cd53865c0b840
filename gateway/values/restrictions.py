"""Restrictions: how an upstream limits the reuse of its answer (RFC 9111 section 5.2.2).

`|` combines the restrictions of several answers; the result is as strict as the strictest one.
"""

from __future__ import annotations

from enum import IntFlag

__all__ = ["UNRESTRICTED", "Restriction"]


class Restriction(IntFlag):
    """One restriction. The values are part of the envelope in the shared store."""

    NO_STORE = 1
    """No cache may store it, nor reuse it for another request."""
    PRIVATE = 2
    """No shared cache may store it: it is meant for one user."""
    NO_CACHE = 4
    """No cache may reuse it without revalidation."""
    MUST_REVALIDATE = 8
    """No cache may use it once it is stale."""
    PROXY_REVALIDATE = 16
    """No shared cache may use it once it is stale."""
    VARIES = 32
    """`Vary: *`: it may depend on more than the request, so it matches no other request."""
    SHARED_LIFETIME = 64
    """Its lifetime is the one for shared caches (`s-maxage`), longer than the one for others."""


UNRESTRICTED = Restriction(0)
