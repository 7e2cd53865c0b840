"""The header fields of an answer: validators, freshness and timings.

Everything that may change from one identical answer to the next is here and not in the body.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from xxhash import xxh3_128, xxh3_128_hexdigest

from gateway.engine.outcome import State
from gateway.values.restrictions import UNRESTRICTED, Restriction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.engine.outcome import Outcome
    from gateway.plan.model import Plan

__all__ = ["Freshness", "ServerTiming", "etag", "freshness", "matches"]

_KEPT = {"hit", "stale"}
"""What the cache did for a section that nobody was asked for."""


class Freshness:
    """How long an answer holds.

    Attributes:
        as_of: POSIX seconds of the oldest kept section, `None` where nothing is kept.
        fresh_until: POSIX seconds up to which every section is fresh; `None` where a section is not
            kept, is stale, or is missing.
        complete: no section failed.
        status: value of `Cache-Status` (RFC 9211) without its ttl.
        expires: POSIX seconds at which the first section ceases or has ceased to be fresh, where
            all of them came from the cache; `None` otherwise.
        restrictions: what any section's upstream forbids others to do with the answer.
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
        """Whether the answer may depend on more than a request says (`Vary: *`)."""
        return bool(self.restrictions) and Restriction.VARIES in self.restrictions

    def as_hit(self) -> Freshness:
        """Return the same for who gets it from the cache."""
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
            # RFC 9111 section 4.2: a cache compares max-age with Age, so it spans the whole life.
            lifetime = int(self.fresh_until - now) + max(0, int(now - self.as_of))
        if self.restrictions:
            return _restricted(self.restrictions, lifetime, private=private)
        if lifetime is None:
            return b"private, no-cache" if private else b"no-cache"
        return b"%b, max-age=%d" % (b"private" if private else b"public", lifetime)


def _restricted(forbidden: Restriction, lifetime: int | None, *, private: bool) -> bytes:
    """Return the `Cache-Control` of an answer that lasts for `lifetime` seconds at most."""
    if Restriction.NO_STORE in forbidden:
        return b"no-store"
    private = private or Restriction.PRIVATE in forbidden
    only_shared = Restriction.SHARED_LIFETIME in forbidden
    # A cache that knows nothing of `Vary: *` knows no-cache.
    asked_first = bool(forbidden & (Restriction.NO_CACHE | Restriction.VARIES))
    if lifetime is None or asked_first or (private and only_shared):
        return b"private, no-cache" if private else b"no-cache"
    control = b"%b, max-age=%d" % (b"private" if private else b"public", lifetime)
    if only_shared:
        control = b"public, max-age=0, s-maxage=%d" % lifetime
    if Restriction.MUST_REVALIDATE in forbidden:
        control += b", must-revalidate"
    if Restriction.PROXY_REVALIDATE in forbidden:
        control += b", proxy-revalidate"
    return control


_KEPT_NOTHING = Freshness(as_of=None, fresh_until=None, complete=True, status="")
_INCOMPLETE = Freshness(as_of=None, fresh_until=None, complete=False, status="")


def freshness(outcomes: Sequence[Outcome], *, complete: bool) -> Freshness:
    """Work out the freshness of an answer: that of its least fresh section."""
    for outcome in outcomes:
        if (
            outcome.cache
            or outcome.restrictions
            or outcome.as_of is not None
            or outcome.fresh_until is not None
        ):
            break
    else:
        return _KEPT_NOTHING if complete else _INCOMPLETE
    as_of: float | None = None
    expires: float | None = None
    fresh = True
    words = set()
    restrictions = UNRESTRICTED
    for outcome in outcomes:
        if outcome.restrictions:
            restrictions |= outcome.restrictions
        if outcome.state is State.SKIPPED:
            continue
        stands_in = outcome.cache == "stale" and outcome.reason is not None
        words.add("failing" if stands_in else outcome.cache)
        if outcome.as_of is not None and (as_of is None or outcome.as_of < as_of):
            as_of = outcome.as_of
        if outcome.fresh_until is None or outcome.state is not State.OK:
            fresh = False
        if outcome.fresh_until is not None and (expires is None or outcome.fresh_until < expires):
            expires = outcome.fresh_until
    return Freshness(
        as_of=as_of,
        fresh_until=expires if fresh else None,
        complete=complete,
        status=_cache_status(words),
        expires=expires if words <= _KEPT else None,
        restrictions=restrictions,
    )


def _cache_status(words: set[str]) -> str:
    """Return one member for the gateway; what went forward decides over what did not."""
    if words == {"hit"}:
        return "gateway; hit"
    if "" in words and words != {""}:
        return "gateway; fwd=miss"  # a section without a cache was asked for
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
    """Return a weak validator (RFC 9110 section 8.8.3) of what a frontend would render.

    The parts count as the bytes that they are together. 128 bits against accidents: it need not
    withstand an attacker, for whoever can choose the bodies has nothing to gain by two of one tag.
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
        nothing: that of an answer for which no section had to run.
    """

    __slots__ = ("_template", "nothing")

    def __init__(self, plan: Plan) -> None:
        # One formatting for all sections: the names are known before a request comes.
        self._template = ", ".join([f"{section.name};dur=%.1f" for section in plan.sections])
        self.nothing = self.of([0.0] * len(plan.sections))

    def of(self, seconds: Sequence[float]) -> bytes:
        """Return the field's value for sections that took `seconds`, in the plan's order."""
        return (self._template % tuple([1000 * each for each in seconds])).encode("ascii")
