"""The metrics that the documentation lists, and those that an expression names."""

from __future__ import annotations

import re

from tests.deploy.rendering import ROOT

_LISTED = re.compile(r"^\| `(gateway_\w+)` \|", re.MULTILINE)
_NAMED = re.compile(r"\bgateway_\w+")


def listed() -> set[str]:
    """Return the metrics of docs/reference/http.md; a test compares them with what is served."""
    return set(_LISTED.findall((ROOT / "docs" / "reference" / "http.md").read_text()))


def unknown(expression: str) -> set[str]:
    """Return the metrics in an expression that the documentation does not list."""
    named = set(_NAMED.findall(expression))
    return {one for one in named if one not in listed()
            and re.sub(r"_(bucket|count|sum)$", "", one) not in listed()}  # fmt: skip
