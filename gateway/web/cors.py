"""CORS: lets pages of other origins read answers (WHATWG Fetch, section 3.2).

What an answer gets depends only on the request's `Origin`, so it is made once for each origin and
added to the head of every answer, whatever made it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from starlette.types import Message, Send

    from gateway.config.models import CorsConfig
    from gateway.values.header_fields import Field

__all__ = ["VARY", "Cors", "CrossOrigin", "with_vary"]

EXPOSED = ("ETag", "Age", "Cache-Status", "Server-Timing", "Retry-After", "X-Request-Id")
"""Fields that scripts may read in any case."""

VARY = b"Origin"
"""What `Vary` names where answers depend on the origin."""

_ORIGIN = b"origin"
_ASKED_METHOD = b"access-control-request-method"
_ASKED_FIELDS = b"access-control-request-headers"
_LONGEST = 512  # bytes of an origin, which is a scheme, a host name of at most 253 and a port
_LONGEST_LIST = 2048
_REMEMBERED = 1024
_LABELS = rb"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, -]*").fullmatch


class CrossOrigin:
    """The header fields that CORS adds to the answers to one origin.

    Attributes:
        pairs: the fields, without `Vary`.
        varies: answers depend on `Origin`.
        is_preflight: the request is a preflight, which they answer.
        wire: the fields as HTTP/1.1 sends them.
        wire_with_vary: the same with `Vary`, for an answer that has none.
    """

    __slots__ = ("is_preflight", "pairs", "varies", "wire", "wire_with_vary")

    def __init__(self, pairs: Sequence[Field], *, varies: bool, is_preflight: bool = False) -> None:
        self.pairs = pairs
        self.varies = varies
        self.is_preflight = is_preflight
        self.wire = b"".join([b"%b: %b\r\n" % field for field in pairs])
        self.wire_with_vary = b"vary: %b\r\n%b" % (VARY, self.wire) if varies else self.wire

    def added_to(self, fields: Iterable[Field]) -> list[Field]:
        """Return header fields of an answer, with these."""
        vary = with_vary(fields, VARY) if self.varies else list(fields)
        return [*vary, *self.pairs]

    def sending(self, send: Send) -> Send:
        """Return an ASGI `send` that adds the fields to an answer."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self.added_to(message.get("headers", ()))}
            await send(message)

        return sending


class Cors:
    """Decides by `web.cors` which origins may read answers.

    Args:
        config: what is declared.

    Attributes:
        credentials: pages of these origins may use the credentials of their user.
        varies: answers depend on `Origin`, so `Vary` has to say so.
        unknown: what an answer gets if the request's fields are not known.
    """

    def __init__(self, config: CorsConfig) -> None:
        self._any = "*" in config.origins
        self._exact = {one.encode("ascii") for one in config.origins if "*" not in one}
        self._patterns = [_pattern(one) for one in config.origins if one.count("*.")]
        self.credentials = config.credentials
        self.varies = not self._any
        exposed = ", ".join(dict.fromkeys((*EXPOSED, *config.exposed_headers)))
        self._allowed: list[Field] = [(b"access-control-expose-headers", exposed.encode("ascii"))]
        if config.credentials:
            self._allowed.append((b"access-control-allow-credentials", b"true"))
        self._max_age = b"%d" % int(config.max_age)
        self._of_origin: dict[bytes, CrossOrigin] = {}
        self.unknown = self._made(b"")

    def allows(self, origin: bytes) -> bool:
        """Whether pages of an origin may read answers."""
        if self._any or origin in self._exact:
            return True
        return len(origin) <= _LONGEST and any(each.fullmatch(origin) for each in self._patterns)

    def of(self, method: str, fields: Iterable[Field]) -> CrossOrigin:
        """Return what the answer to a request gets.

        Args:
            method: its method.
            fields: its header fields, with names in lower case.
        """
        if method == "OPTIONS":
            asked = self._preflight(list(fields))
            if asked is not None:
                return asked
        if self._any:
            return self.unknown
        return self._of(_origin_in(fields))

    def _preflight(self, fields: list[Field]) -> CrossOrigin | None:
        """Return the answer to a preflight; `None` if the request is none."""
        names = {name for name, _ in fields}
        if _ORIGIN not in names or _ASKED_METHOD not in names:
            return None
        found = self._of(_origin_in(fields))
        if not found.pairs:
            return CrossOrigin((), varies=True, is_preflight=True)
        pairs = [field for field in found.pairs if field[0] != b"access-control-expose-headers"]
        pairs.append((b"access-control-allow-methods", b"GET, HEAD, POST"))
        wanted = b", ".join([value for name, value in fields if name == _ASKED_FIELDS])
        if wanted and len(wanted) <= _LONGEST_LIST and _NAMES(wanted):
            pairs.append((b"access-control-allow-headers", wanted))
        pairs.append((b"access-control-max-age", self._max_age))
        return CrossOrigin(pairs, varies=self.varies, is_preflight=True)

    def _of(self, origin: bytes) -> CrossOrigin:
        known = self._of_origin.get(origin)
        if known is None:
            if len(self._of_origin) >= _REMEMBERED:
                self._of_origin.clear()
            known = self._made(origin)
            if len(origin) <= _LONGEST:
                self._of_origin[origin] = known
        return known

    def _made(self, origin: bytes) -> CrossOrigin:
        if not self.allows(origin):
            return CrossOrigin((), varies=True)
        allowed = b"*" if self._any else origin
        pairs = [(b"access-control-allow-origin", allowed), *self._allowed]
        return CrossOrigin(pairs, varies=self.varies)


def with_vary(fields: Iterable[Field], name: bytes) -> list[Field]:
    """Return header fields whose `Vary` names `name` too."""
    changed = []
    known = False
    for field in fields:
        if field[0].lower() != b"vary" or known:
            changed.append(field)
            continue
        known = True
        listed = [one.strip().lower() for one in field[1].split(b",")]
        covered = name.lower() in listed or b"*" in listed
        changed.append(field if covered else (b"vary", b"%b, %b" % (field[1], name)))
    if not known:
        changed.append((b"vary", name))
    return changed


def _origin_in(fields: Iterable[Field]) -> bytes:
    """Return the request's origin; empty if it has none, or more than one."""
    found = [value for name, value in fields if name == _ORIGIN]
    return found[0] if len(found) == 1 else b""


def _pattern(text: str) -> re.Pattern[bytes]:
    scheme, _, rest = text.encode("ascii").partition(b"*.")
    return re.compile(re.escape(scheme) + _LABELS + rb"\." + re.escape(rest))
