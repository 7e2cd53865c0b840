"""Cache-Control and related header fields: whether and how long an answer may be stored.

See RFC 9111 and RFC 5861.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from gateway.values.header_fields import HeaderFields, start_of, values_of
from gateway.values.restrictions import UNRESTRICTED, Restriction
from gateway.values.units import LONGEST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Windows",
    "field_value",
    "forbids_keeping",
    "parse_age",
    "parse_cache_control",
    "restrictions",
    "shared_lifetime",
    "upstream_windows",
]

_DIRECTIVE = re.compile(
    r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?"""
)


class Windows(NamedTuple):
    """How long an answer is fresh, and how long after that it may be served stale.

    Attributes:
        fresh: seconds for which it may be served without revalidation.
        revalidate: seconds after that in which it may be served while it is refreshed.
        error: seconds after that in which it may be served when a refresh failed.
    """

    fresh: float
    revalidate: float
    error: float


def field_value(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the field's value, with several lines joined (RFC 9110 section 5.3), or `None`."""
    values = values_of(headers, name)
    return b",".join(values).decode("latin-1") if values else None


def parse_cache_control(text: str | None) -> dict[str, str | None]:
    """Return the directives of a Cache-Control field by lower-case name; the first one wins.

    RFC 9111 section 5.2: an argument may be a token or a quoted string.
    """
    directives: dict[str, str | None] = {}
    for match in _DIRECTIVE.finditer(text or ""):
        name, quoted, token = match.groups()
        directives.setdefault(name.lower(), quoted if quoted is not None else token)
    return directives


def forbids_keeping(directives: Mapping[str, str | None]) -> bool:
    """Return whether a shared cache must not store the answer.

    RFC 9111 sections 5.2.2.5 and 5.2.2.7.

    `private` with a list of fields counts as `private`, as in most shared caches.
    """
    return "no-store" in directives or "private" in directives


_FORBIDDEN = (
    ("no-store", Restriction.NO_STORE),
    ("private", Restriction.PRIVATE),
    ("no-cache", Restriction.NO_CACHE),
    ("must-revalidate", Restriction.MUST_REVALIDATE),
    ("proxy-revalidate", Restriction.PROXY_REVALIDATE),
    ("s-maxage", Restriction.PROXY_REVALIDATE),  # RFC 9111 section 5.2.2.10 implies it
)
_CONTROL, _VARY = start_of(b"cache-control"), start_of(b"vary")
# Each directive above contains one of these, so that most fields need not be parsed.
_may_forbid = re.compile(rb"no-|private|revalidate|s-maxage", re.IGNORECASE).search


def restrictions(headers: Sequence[tuple[bytes, bytes]]) -> Restriction:
    """Return the restrictions in the header fields of an answer.

    `private` and `no-cache` with a list of fields count as without one.
    """
    if type(headers) is HeaderFields and not (headers.has(_CONTROL) or headers.has(_VARY)):
        return UNRESTRICTED
    found = UNRESTRICTED
    for control in values_of(headers, b"cache-control"):
        if _may_forbid(control):
            directives = parse_cache_control(control.decode("latin-1"))
            for directive, restriction in _FORBIDDEN:
                if directive in directives:
                    found |= restriction
    for vary in values_of(headers, b"vary"):
        if b"*" in vary and _has_star(vary):
            found |= Restriction.VARIES
    return found


def _has_star(vary: bytes) -> bool:
    return any(member.strip() == b"*" for member in vary.split(b","))


def shared_lifetime(directives: Mapping[str, str | None]) -> bool:
    """Return whether the explicit lifetime is longer for shared caches than for others."""
    if "s-maxage" not in directives:
        return False
    return _delta_seconds(directives["s-maxage"]) > _delta_seconds(directives.get("max-age"))


def parse_age(headers: Sequence[tuple[bytes, bytes]]) -> float:
    """Return the seconds that the answer spent in other caches (RFC 9111 section 5.1)."""
    text = field_value(headers, b"age")
    return _delta_seconds(text.partition(",")[0].strip()) if text else 0.0


def upstream_windows(
    headers: Sequence[tuple[bytes, bytes]],
    directives: Mapping[str, str | None],
    revalidate: float,
    error: float,
) -> Windows:
    """Return the windows that the upstream's header fields define.

    There is no heuristic freshness: without an explicit lifetime the answer is stale at once.

    Args:
        headers: the header fields of its answer.
        directives: the directives of its Cache-Control.
        revalidate: the configured window, used where the upstream does not set one.
        error: likewise.
    """
    if "no-cache" in directives or Restriction.VARIES in restrictions(headers):
        # Section 5.2.2.4: not without revalidation. Section 4.1: "*" never matches.
        return Windows(0.0, 0.0, 0.0)
    # Section 4.2.4: no configuration of a cache may override these.
    if "must-revalidate" in directives or "proxy-revalidate" in directives:
        return Windows(_fresh(headers, directives), 0.0, 0.0)
    if "s-maxage" in directives:  # implies proxy-revalidate, unless further directives follow
        revalidate = error = 0.0
    if "stale-while-revalidate" in directives:
        revalidate = _delta_seconds(directives["stale-while-revalidate"])
    if "stale-if-error" in directives:
        error = _delta_seconds(directives["stale-if-error"])
    return Windows(_fresh(headers, directives), revalidate, error)


def _fresh(headers: Sequence[tuple[bytes, bytes]], directives: Mapping[str, str | None]) -> float:
    # Section 4.2.1: for a shared cache s-maxage, then max-age, then Expires less Date.
    for name in ("s-maxage", "max-age"):
        if name in directives:
            return max(_delta_seconds(directives[name]) - parse_age(headers), 0.0)
    expires, date = _date(headers, b"expires"), _date(headers, b"date")
    if expires is None or date is None:
        return 0.0
    return min(max(expires - date - parse_age(headers), 0.0), LONGEST)


def _delta_seconds(text: str | None) -> float:
    # Section 4.2.1: an invalid value makes the answer stale, not fresh.
    if not text or not text.isascii() or not text.isdigit():
        return 0.0
    return min(float(text[:12]), LONGEST)


def _date(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> float | None:
    text = field_value(headers, name)
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
