"""Restrictions: what an upstream forbids others to do with its answer (RFC 9111 section 5.2.2).

The restrictions of several answers are put together with `|`; what comes of it is as strict as the
strictest of them.
"""

from __future__ import annotations

from enum import IntFlag

__all__ = ["UNRESTRICTED", "Restriction"]


class Restriction(IntFlag):
    """One thing that is forbidden. The values are part of the envelope in the shared store."""

    NO_STORE = 1
    """No cache may store it, nor use it for another request."""
    PRIVATE = 2
    """No shared cache may store it: it is meant for one user."""
    NO_CACHE = 4
    """No cache may use it again before it has asked the upstream."""
    MUST_REVALIDATE = 8
    """No cache may use it once it is stale."""
    PROXY_REVALIDATE = 16
    """No shared cache may use it once it is stale."""
    VARIES = 32
    """`Vary: *`: it may depend on more than a request says, so it answers no other request."""
    SHARED_LIFETIME = 64
    """Its lifetime is that for shared caches (`s-maxage`), and longer than that for others."""


UNRESTRICTED = Restriction(0)
