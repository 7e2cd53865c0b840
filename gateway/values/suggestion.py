"""Suggestions for misspelt names: "did you mean ...?"."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["suggest"]


def suggest(name: str, known: Collection[str]) -> str:
    """Return `, did you mean ...?` with the closest known name, a short list of all, or nothing."""
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    if close:
        return f", did you mean {close[0]}?"
    return f"; there is {', '.join(sorted(known))}" if 0 < len(known) <= 8 else ""  # noqa: PLR2004 - one line
