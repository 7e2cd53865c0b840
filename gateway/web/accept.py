"""Content negotiation by `Accept` (RFC 9110 section 12.5.1): which form of an answer is sent.

A stream or a table is sent only to a client that names it. A wildcard means the document, and so
does a field that fits nothing: RFC 9110 lets a server disregard it, and browsers and tools that ask
for `text/html` get an answer that they can show.
"""

from __future__ import annotations

from functools import lru_cache

from gateway.answers.encodings import ENCODINGS

__all__ = ["DOCUMENT", "TABLE", "ranked"]

DOCUMENT = b"application/json"
TABLE = b"text/csv"

_NAMED = (*(encoding.media_type for encoding in ENCODINGS), TABLE)
_OF_DOCUMENT = (DOCUMENT, b"application/*", b"*/*")  # the most specific one decides
_LONGEST = 1024
_MOST = 64


def ranked(accept: bytes) -> tuple[bytes, ...]:
    """Return the media types that the gateway has and a client accepts, the best first.

    Of equally good ones the document is first. The field is read up to a length that no client
    needs; a longer one asks for the document.
    """
    return (DOCUMENT,) if len(accept) > _LONGEST else _ranked(accept)


@lru_cache(maxsize=256)
def _ranked(accept: bytes) -> tuple[bytes, ...]:
    qualities = _qualities(accept)
    found = {name: qualities[name] for name in _NAMED if qualities.get(name)}
    document = next((qualities[name] for name in _OF_DOCUMENT if name in qualities), 0.0)
    order = {DOCUMENT: document, **found} if document else found
    return tuple(sorted(order, key=lambda name: -order[name])) or (DOCUMENT,)


def _qualities(accept: bytes) -> dict[bytes, float]:
    """Return the quality of each media range; one that is not valid counts as 1."""
    qualities: dict[bytes, float] = {}
    for item in accept.lower().split(b",")[:_MOST]:
        name, *parameters = (part.strip() for part in item.split(b";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith(b"q="):
                quality = _quality(parameter[2:])
        qualities[name] = max(quality, qualities.get(name, 0.0))
    return qualities


def _quality(text: bytes) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 1.0
    return min(max(quality, 0.0), 1.0) if quality == quality else 1.0  # noqa: PLR0124 - not NaN
