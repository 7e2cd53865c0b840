"""The registry of upstream kinds: a new kind adds a folder next to this file and a line here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gateway.upstreams.http.kind import HTTP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config.models import UpstreamConfig
    from gateway.upstreams.kind import Kind, Template

__all__ = ["KINDS", "kind_declared", "kind_of", "parse_source"]

KINDS: list[Kind] = [
    HTTP,
]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?=:)")


def kind_declared(raw: Any) -> Kind:
    """Return the kind of a raw declaration; HTTP if its keys do not identify one."""
    keys = raw.keys() if isinstance(raw, dict) else ()
    return next((kind for kind in KINDS if kind.key in keys), KINDS[0])


def kind_of(config: UpstreamConfig) -> Kind:
    """Return the kind of a validated declaration."""
    return next(kind for kind in KINDS if isinstance(config, kind.config))


def parse_source(text: str, kinds: Mapping[str, Kind]) -> Template:
    """Compile the source of a section by the kind of its upstream.

    Args:
        text: `upstream:...` with references in braces.
        kinds: the kind of each declared upstream; an undeclared one is compiled as HTTP.

    Raises:
        TemplateError: it is malformed.
    """
    name = _NAME.match(text)
    return (kinds.get(name[0], KINDS[0]) if name else KINDS[0]).parse(text)
