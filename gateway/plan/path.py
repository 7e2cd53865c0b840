"""The path of a dashboard: plain segments and placeholders for parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.values.suggestion import suggest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["RESERVED", "Mistake", "mistakes_in_path", "path_shape", "placeholders"]

_PLACEHOLDER = re.compile(r"\{([^{}/]*)\}")
_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]*")
RESERVED = ("/docs", "/redoc", "/openapi.json", "/healthz", "/readyz", "/metrics", "/admin",
            "/batch")  # fmt: skip
"""Paths that the gateway reserves, together with everything below them."""


class Mistake(NamedTuple):
    """A mistake in a path.

    Attributes:
        message: says what is wrong.
        offset: position in the path.
    """

    message: str
    offset: int = 0


def path_shape(path: str) -> str:
    """Return `path` with its placeholders made equal; two dashboards of one shape collide."""
    return _PLACEHOLDER.sub("{}", path)


def placeholders(path: str) -> set[str]:
    """Return the names of the placeholders in `path`."""
    return {match[1] for match in _PLACEHOLDER.finditer(path)}


def mistakes_in_path(path: str, parameters: Collection[str]) -> Iterator[Mistake]:
    """Yield the mistakes in the path of a dashboard with these parameters."""
    found: set[str] = set()
    for match in _PLACEHOLDER.finditer(path):
        name = match[1]
        if name not in parameters:
            close = suggest(name, parameters)
            yield Mistake(f"{{{name}}} is not a declared parameter{close}", match.start())
        if name in found:
            yield Mistake(f"{{{name}}} is in the path twice", match.start())
        found.add(name)
    for segment in path[1:].split("/"):
        literal = _PLACEHOLDER.fullmatch(segment) is None
        if literal and (segment in {".", ".."} or not _SEGMENT.fullmatch(segment)):
            yield Mistake(
                f"{segment!r} is not a path segment; write plain text or one {{parameter}}"
            )
    if path != "/" and "//" in path + "/":
        yield Mistake("the path has an empty segment; remove the extra slash")
    if any(path == taken or path.startswith(taken + "/") for taken in RESERVED):
        yield Mistake(f"{path} is reserved by the gateway; choose another path")
