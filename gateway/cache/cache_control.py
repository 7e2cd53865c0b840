"""What an upstream says about keeping its answer (RFC 9111, RFC 5861)."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

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
    """How long an answer is fresh, and how long after that it may still be of use.

    Attributes:
        fresh: seconds for which it may be served without asking again.
        revalidate: seconds after that in which it may be served while it is asked for again.
        error: seconds after that in which it may be served when asking failed.
    """

    fresh: float
    revalidate: float
    error: float


def field_value(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return the field's value, several lines joined (RFC 9110 section 5.3); `None` without any."""
    values = [value for key, value in headers if key == name]
    return b",".join(values).decode("latin-1") if values else None


def parse_cache_control(text: str | None) -> dict[str, str | None]:
    """Return the directives of a Cache-Control field by lower-case name; of duplicates the first.

    RFC 9111 section 5.2: an argument may be a token or a quoted string.
    """
    directives: dict[str, str | None] = {}
    for match in _DIRECTIVE.finditer(text or ""):
        name, quoted, token = match.groups()
        directives.setdefault(name.lower(), quoted if quoted is not None else token)
    return directives


def forbids_keeping(directives: Mapping[str, str | None]) -> bool:
    """Whether nobody but the client may keep the answer (RFC 9111 sections 5.2.2.5 and 5.2.2.7).

    `private` with a list of fields counts as `private`, as most shared caches have it.
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
# Each directive above has one of these in it, so that most fields need not be parsed.
_may_forbid = re.compile(rb"no-|private|revalidate|s-maxage", re.IGNORECASE).search


def restrictions(headers: Sequence[tuple[bytes, bytes]]) -> Restriction:
    """Return what the header fields of an answer forbid others to do with it.

    With a list of fields `private` and `no-cache` count as without one.
    """
    found = UNRESTRICTED
    for name, value in headers:
        if name == b"cache-control":
            if _may_forbid(value):
                directives = parse_cache_control(value.decode("latin-1"))
                for directive, restriction in _FORBIDDEN:
                    if directive in directives:
                        found |= restriction
        elif name == b"vary" and b"*" in value and _has_star(value):
            found |= Restriction.VARIES
    return found


def _has_star(vary: bytes) -> bool:
    return any(member.strip() == b"*" for member in vary.split(b","))


def shared_lifetime(directives: Mapping[str, str | None]) -> bool:
    """Whether the stated lifetime is longer for shared caches than for others."""
    if "s-maxage" not in directives:
        return False
    return _delta_seconds(directives["s-maxage"]) > _delta_seconds(directives.get("max-age"))


def parse_age(headers: Sequence[tuple[bytes, bytes]]) -> float:
    """Return the seconds that the answer was underway in other caches (RFC 9111 section 5.1)."""
    text = field_value(headers, b"age")
    return _delta_seconds(text.partition(",")[0].strip()) if text else 0.0


def upstream_windows(
    headers: Sequence[tuple[bytes, bytes]],
    directives: Mapping[str, str | None],
    revalidate: float,
    error: float,
) -> Windows:
    """Return the windows that the upstream's own words give.

    What it does not state is not guessed: without an explicit lifetime the answer is stale at once.

    Args:
        headers: of its answer.
        directives: of its Cache-Control.
        revalidate: the configured window for what it leaves open.
        error: likewise.
    """
    if "no-cache" in directives or Restriction.VARIES in restrictions(headers):
        # Section 5.2.2.4: not without asking first. Section 4.1: "*" never matches.
        return Windows(0.0, 0.0, 0.0)
    # Section 4.2.4: what these forbid, no configuration of a cache allows.
    if "must-revalidate" in directives or "proxy-revalidate" in directives:
        return Windows(_fresh(headers, directives), 0.0, 0.0)
    if "s-maxage" in directives:  # implies proxy-revalidate, unless the upstream says more
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
    # Section 4.2.1: what cannot be read makes the answer stale, not fresh.
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
