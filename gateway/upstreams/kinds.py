"""The kinds of upstreams. A new kind is a folder beside this file, and a line here."""

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
    """Return the kind that a raw declaration is of; HTTP where its keys do not say."""
    keys = raw.keys() if isinstance(raw, dict) else ()
    return next((kind for kind in KINDS if kind.key in keys), KINDS[0])


def kind_of(config: UpstreamConfig) -> Kind:
    """Return the kind of a declaration that was validated."""
    return next(kind for kind in KINDS if isinstance(config, kind.config))


def parse_source(text: str, kinds: Mapping[str, Kind]) -> Template:
    """Compile the source of a section by the kind of its upstream.

    Args:
        text: `upstream:...` with references in braces.
        kinds: of the declared upstreams; any other one is read as HTTP.

    Raises:
        TemplateError: when it is malformed.
    """
    name = _NAME.match(text)
    return (kinds.get(name[0], KINDS[0]) if name else KINDS[0]).parse(text)
