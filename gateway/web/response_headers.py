"""The header fields of an answer: validators, freshness and timings.

What may change between identical answers goes here and not into the body.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from xxhash import xxh3_128, xxh3_128_hexdigest

from gateway.engine.outcome import State
from gateway.values.provenance import FETCHED
from gateway.values.restrictions import UNRESTRICTED, Restriction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.engine.outcome import Outcome
    from gateway.plan.model import Plan

__all__ = ["Freshness", "ServerTiming", "etag", "freshness", "matches"]

_OK, _, _, _SKIPPED, _ = State

_NOT_FORWARDED = {"hit", "stale"}
"""Cache result of a section for which no upstream was called."""


class Freshness:
    """The freshness of an answer.

    Attributes:
        as_of: POSIX seconds of the oldest cached section; `None` if none is cached.
        fresh_until: POSIX seconds up to which every section is fresh; `None` if any
            section is uncached, stale or missing.
        complete: no section failed.
        status: value of `Cache-Status` (RFC 9211) without its ttl.
        expires: POSIX seconds at which the first section ceases or has ceased to be fresh, if all
            of them came from the cache; `None` otherwise.
        restrictions: the combined restrictions of all sections' upstreams.
    """

    __slots__ = ("as_of", "complete", "expires", "fresh_until", "restrictions", "status")

    def __init__(
        self,
        *,
        as_of: float | None,
        fresh_until: float | None,
        complete: bool,
        status: str,
        expires: float | None = None,
        restrictions: Restriction = UNRESTRICTED,
    ) -> None:
        self.as_of = as_of
        self.fresh_until = fresh_until
        self.complete = complete
        self.status = status
        self.expires = expires
        self.restrictions = restrictions

    @property
    def reusable(self) -> bool:
        """Whether a shared cache, such as the gateway's own, may store the answer."""
        forbidden = self.restrictions
        return not (forbidden and forbidden & (Restriction.NO_STORE | Restriction.PRIVATE))

    @property
    def varies(self) -> bool:
        """Whether the answer may depend on more than the request (`Vary: *`)."""
        return bool(self.restrictions) and Restriction.VARIES in self.restrictions

    def as_hit(self) -> Freshness:
        """Return the freshness of the same answer when the cache serves it."""
        return Freshness(
            as_of=self.as_of,
            fresh_until=self.fresh_until,
            complete=self.complete,
            status="gateway; hit",
            expires=self.fresh_until,
            restrictions=self.restrictions,
        )

    def fields(self, now: float, *, private: bool = False) -> list[tuple[bytes, bytes]]:
        """Return `Cache-Control`, `Age` and `Cache-Status` as of `now`."""
        fields: list[tuple[bytes, bytes]] = []
        status = self.status
        fields.append((b"cache-control", self._control(now, private=private)))
        if self.as_of is not None:
            fields.append((b"age", b"%d" % max(0, int(now - self.as_of))))
        if self.expires is not None:  # RFC 9211 section 2.4: negative once it is stale
            status = f"{status}; ttl={floor(self.expires - now)}"
        if status:
            fields.append((b"cache-status", status.encode("ascii")))
        return fields

    def _control(self, now: float, *, private: bool) -> bytes:
        if not self.complete:
            return b"no-store"
        lifetime = None
        if self.fresh_until is not None and self.fresh_until > now and self.as_of is not None:
            # RFC 9111 section 4.2: caches compare max-age with Age, so it spans the whole lifetime.
            lifetime = int(self.fresh_until - now) + max(0, int(now - self.as_of))
        if self.restrictions:
            return _restricted(self.restrictions, lifetime, private=private)
        if lifetime is None:
            return b"private, no-cache" if private else b"no-cache"
        return b"%b, max-age=%d" % (b"private" if private else b"public", lifetime)


def _restricted(forbidden: Restriction, lifetime: int | None, *, private: bool) -> bytes:
    """Return the `Cache-Control` of an answer that is fresh for at most `lifetime` seconds."""
    if Restriction.NO_STORE in forbidden:
        return b"no-store"
    private = private or Restriction.PRIVATE in forbidden
    only_shared = Restriction.SHARED_LIFETIME in forbidden
    # A cache that does not support `Vary: *` supports no-cache.
    no_cache = bool(forbidden & (Restriction.NO_CACHE | Restriction.VARIES))
    if lifetime is None or no_cache or (private and only_shared):
        return b"private, no-cache" if private else b"no-cache"
    control = b"%b, max-age=%d" % (b"private" if private else b"public", lifetime)
    if only_shared:
        control = b"public, max-age=0, s-maxage=%d" % lifetime
    if Restriction.MUST_REVALIDATE in forbidden:
        control += b", must-revalidate"
    if Restriction.PROXY_REVALIDATE in forbidden:
        control += b", proxy-revalidate"
    return control


_NOT_CACHED = Freshness(as_of=None, fresh_until=None, complete=True, status="")
_INCOMPLETE = Freshness(as_of=None, fresh_until=None, complete=False, status="")


def freshness(outcomes: Sequence[Outcome], *, complete: bool) -> Freshness:
    """Return the freshness of an answer, which is that of its least fresh section."""
    for outcome in outcomes:
        if outcome.provenance is not FETCHED:
            break
    else:
        return _NOT_CACHED if complete else _INCOMPLETE
    as_of: float | None = None
    expires: float | None = None
    fresh = True
    words = set()
    restrictions = UNRESTRICTED
    for outcome in outcomes:
        provenance = outcome.provenance
        if provenance.restrictions:
            restrictions |= provenance.restrictions
        if outcome.state is _SKIPPED:
            continue
        is_failing = provenance.cache == "stale" and provenance.reason is not None
        words.add("failing" if is_failing else provenance.cache)
        began, ends = provenance.as_of, provenance.fresh_until
        if began is not None and (as_of is None or began < as_of):
            as_of = began
        if ends is None or outcome.state is not _OK:
            fresh = False
        if ends is not None and (expires is None or ends < expires):
            expires = ends
    return Freshness(
        as_of=as_of,
        fresh_until=expires if fresh else None,
        complete=complete,
        status=_cache_status(words),
        expires=expires if words <= _NOT_FORWARDED else None,
        restrictions=restrictions,
    )


def _cache_status(words: set[str]) -> str:
    """Return the gateway's `Cache-Status` member; forwarded sections take precedence over hits."""
    if words == {"hit"}:
        return "gateway; hit"
    if "" in words and words != {""}:
        return "gateway; fwd=miss"  # a section without a cache was fetched
    for word, status in (
        ("pass", "gateway; fwd=miss"),
        ("miss", "gateway; fwd=miss; stored"),
        ("expired", "gateway; fwd=stale; stored"),
        ("collapsed", "gateway; fwd=miss; collapsed"),
        ("failing", "gateway; fwd=stale; detail=stale-if-error"),
        ("stale", "gateway; hit; detail=stale-while-revalidate"),
    ):
        if word in words:
            return status
    return ""


def etag(rendered: Sequence[bytes | memoryview]) -> bytes:
    """Return a weak validator (RFC 9110 section 8.8.3) of what a frontend renders.

    The parts are hashed as one sequence of bytes. 128 bits protect against accidental collisions;
    an attacker who controls the bodies gains nothing from a collision.
    """
    if len(rendered) == 1:
        digest = xxh3_128_hexdigest(rendered[0])
    else:
        hashed = xxh3_128()
        for part in rendered:
            hashed.update(part)
        digest = hashed.hexdigest()
    return b'W/"%b"' % digest.encode("ascii")


def matches(if_none_match: bytes, tag: bytes) -> bool:
    """Whether `If-None-Match` names `tag`, by weak comparison (RFC 9110 section 13.1.2)."""
    if if_none_match == tag:
        return True
    opaque = tag.removeprefix(b"W/")
    return if_none_match.strip() == b"*" or any(
        candidate.strip().removeprefix(b"W/") == opaque for candidate in if_none_match.split(b",")
    )


class ServerTiming:
    """Writes `Server-Timing` with one metric for each section of a plan, in milliseconds.

    Attributes:
        nothing: the field's value for an answer for which no section ran.
    """

    __slots__ = ("_template", "nothing")

    def __init__(self, plan: Plan) -> None:
        # One format string for all sections, since their names are known in advance.
        self._template = b", ".join(
            [b"%b;dur=%%.1f" % s.name.encode("ascii") for s in plan.sections]
        )
        self.nothing = self.of([0.0] * len(plan.sections))

    def of(self, seconds: Sequence[float]) -> bytes:
        """Return the field's value for sections that took `seconds`, in the plan's order."""
        return self._template % tuple([1000 * each for each in seconds])
