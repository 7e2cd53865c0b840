"""The target of a redirect for error messages, without parts that could be secret."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.values.header_fields import values_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.values.header_fields import Field

__all__ = ["redirected_to"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})  # RFC 9110 section 15.4
_MOST = 200


def redirected_to(status: int, headers: Sequence[Field]) -> str:
    """Return scheme, host and path of a redirect's target; empty if the answer is not a redirect.

    Credentials, query, fragment and path parameters (`;`) are removed; a long target is truncated.
    """
    if status not in _REDIRECTS:
        return ""
    location = next(iter(values_of(headers, b"location")), b"")
    try:
        parts = urlsplit(location.decode("ascii"))
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    scheme = f"{parts.scheme}:" if parts.scheme else ""
    path = parts.path.partition(";")[0]  # servers write session identifiers there
    place = f"{scheme}{f'//{host}' if host else ''}{path}"
    if not place.isprintable():
        return ""
    return place if len(place) <= _MOST else f"{place[: _MOST - 3]}..."
