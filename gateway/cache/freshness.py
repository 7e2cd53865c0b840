"""Freshness: which answers are stored, for how long, and when they may be served. Pure, no I/O.

Three moments divide the life of an entry (RFC 9111 section 4.2, RFC 5861 sections 3 and 4)::

    stored ───────── fresh_until ─────────── revalidate_until ─────────── error_until
           hit                   stale, refreshed             only when the
                                 in the background            upstream fails

Either of the last two may come first; neither is earlier than `fresh_until`.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from math import log
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from pydantic import Discriminator, Field, Tag

from gateway.cache.cache_control import (
    Windows,
    field_value,
    forbids_keeping,
    parse_age,
    parse_cache_control,
    shared_lifetime,
    upstream_windows,
)
from gateway.call import Response
from gateway.errors import UpstreamStatus
from gateway.values.base import Policy
from gateway.values.provenance import Provenance
from gateway.values.restrictions import UNRESTRICTED, Restriction
from gateway.values.units import Duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.errors import CallError

__all__ = [
    "CachePolicy",
    "CacheState",
    "Decision",
    "Entry",
    "decide",
    "keep",
    "keep_negative",
    "speaks_against_keeping",
]

NOT_FOUND = 404
_CLIENT_ERRORS = range(400, 500)
# -ln(u) passes this once in 9 million draws; beyond it no draw is made.
_FARTHEST = 16.0


def _tag(value: Any) -> str:
    return "upstream" if value == "upstream" else "duration"


Lifetime = Annotated[
    Annotated[Duration, Tag("duration")] | Annotated[Literal["upstream"], Tag("upstream")],
    Discriminator(_tag),
]


class CachePolicy(Policy):
    """How long answers are cached, and when a stale one may be served."""

    ttl: Lifetime = Field(examples=["1m"])
    """How long an answer is fresh; `upstream` takes it from the answer's Cache-Control."""

    stale_while_revalidate: Duration = Field(default=0, examples=["10m"])
    """How long after that it is still served at once, while it is refreshed in the background."""

    stale_if_error: Duration = Field(default=0, examples=["1d"])
    """How long after that it is served when the upstream fails."""

    negative: Duration | None = Field(default=None, examples=["10s"])
    """How long a 404 is cached; by default it is not cached."""

    jitter: float = Field(default=0.1, ge=0, le=0.5)
    """Maximum share of the lifetime that is subtracted at random, so that entries do not expire
    together."""

    early_refresh: float = Field(default=1.0, ge=0, le=10)
    """How eagerly an entry is refreshed in the background before it expires; 0 disables this
    (XFetch's beta)."""

    @property
    def keeps(self) -> bool:
        """Whether any answer is stored."""
        return bool(self.ttl or self.stale_while_revalidate or self.stale_if_error or self.negative)


class CacheState(StrEnum):
    """What the cache did for an answer: the values of `Provenance.cache`, for RFC 9211."""

    HIT = "hit"
    """Stored and fresh: `hit`."""
    STALE = "stale"
    """Stored and no longer fresh, served anyway: `hit` with a negative `ttl`, or, where
    `Provenance.reason` is set, `fwd=stale` after a failed request."""
    MISS = "miss"
    """No answer was stored, now one is: `fwd=miss; stored`."""
    EXPIRED = "expired"
    """The stored answer was too old; a new one is stored now: `fwd=stale; stored`."""
    PASS = "pass"  # noqa: S105 - not a password
    """Fetched and not stored: `fwd=miss`."""
    COLLAPSED = "collapsed"
    """Shared the request of another caller: `fwd=miss; collapsed`. Set by the layer `collapse`."""


class Entry:
    """One stored answer.

    Attributes:
        key: the key of the request that it answers.
        body: the payload's bytes.
        status: the upstream's status; 404 for a negative entry, which has no payload.
        stored_at: POSIX seconds at which it was stored.
        as_of: POSIX seconds at which the upstream generated it; earlier if other caches stored it.
        fresh_until: POSIX seconds up to which it is fresh.
        revalidate_until: POSIX seconds up to which it is served stale while it is refreshed.
        error_until: POSIX seconds up to which it is served when the upstream fails.
        cost: seconds that it took to fetch.
        mark: the latest purge that was known when its fetch began.
        restrictions: the upstream's restrictions on reuse.
        response: the response of a hit, created once and shared; `None` for a negative entry.
    """

    __slots__ = (
        "as_of", "body", "cost", "error_until", "fresh_until", "key", "mark", "response",
        "restrictions", "revalidate_until", "status", "stored_at",
    )  # fmt: skip

    def __init__(
        self,
        key: str,
        body: bytes,
        value: Any,
        *,
        status: int,
        stored_at: float,
        as_of: float,
        fresh_until: float,
        revalidate_until: float,
        error_until: float,
        cost: float,
        mark: int,
        restrictions: Restriction = UNRESTRICTED,
    ) -> None:
        self.key = key
        self.body = body
        self.status = status
        self.stored_at = stored_at
        self.as_of = as_of
        self.fresh_until = fresh_until
        self.revalidate_until = revalidate_until
        self.error_until = error_until
        self.cost = cost
        self.mark = mark
        self.restrictions = restrictions
        self.response = None if status == NOT_FOUND else self._response(value)

    def _response(self, value: Any) -> Response:
        return Response(
            value,
            status=self.status,
            body=self.body,
            provenance=self.provenance(CacheState.HIT),
        )

    def provenance(self, cache: CacheState) -> Provenance:
        """Return the provenance of its answer when the cache did `cache`."""
        return Provenance(
            as_of=self.as_of,
            fresh_until=self.fresh_until,
            cache=cache,
            restrictions=self.restrictions,
        )

    @property
    def useful_until(self) -> float:
        """POSIX seconds after which it may not be served at all."""
        return max(self.fresh_until, self.revalidate_until, self.error_until)

    def serve(self, upstream: str) -> Response:
        """Return the response while it is fresh.

        Raises:
            UpstreamStatus: it is a negative entry.
        """
        if self.response is None:
            raise UpstreamStatus(
                f"answered with status {self.status}", upstream=upstream, status=self.status
            )
        return self.response

    def serve_stale(self, upstream: str, reason: CallError | None = None) -> Response:
        """Return the response once it is stale, because of `reason` where there is one."""
        response = self.serve(upstream)
        provenance = self.provenance(CacheState.STALE).but(stale=True, reason=reason)
        return response.with_provenance(provenance)

    def __repr__(self) -> str:
        return f"Entry({self.key}, {self.status}, {len(self.body)} bytes)"


class Decision(Enum):
    """What to do with an entry."""

    HIT = 1
    """Serve it."""
    EARLY = 2
    """Serve it, and refresh it in the background: it is about to expire."""
    STALE = 3
    """Serve it marked stale, and refresh it in the background."""
    FETCH = 4
    """Fetch first; it may be served if that fails and `error_until` has not passed."""


def decide(
    entry: Entry, now: float, beta: float, random: Callable[[], float], *, min_fresh: float = 0.0
) -> Decision:
    """Return what to do with `entry` at `now`.

    The early refresh is XFetch (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache
    Stampede Prevention", 2015): the nearer the expiry and the slower the fetch, the likelier.

    Args:
        entry: the stored answer.
        now: POSIX seconds.
        beta: eagerness; 0 never refreshes early, 1 is the paper's optimum.
        random: uniform in [0, 1).
        min_fresh: seconds for which it must stay fresh; otherwise it is refreshed early.
    """
    left = entry.fresh_until - now
    if left > 0:  # RFC 9111 section 4.2: fresh while the lifetime exceeds the age
        scale = entry.cost * beta
        if left < scale * _FARTHEST and left <= -scale * log(1.0 - random()):
            return Decision.EARLY
        if min_fresh and left < min_fresh + entry.cost:
            return Decision.EARLY
        return Decision.HIT
    if now < entry.revalidate_until:  # RFC 5861 section 3
        return Decision.STALE
    return Decision.FETCH


def speaks_against_keeping(error: CallError) -> bool:
    """Return whether `error` says that the stored answer is no longer valid.

    RFC 5861 section 4 allows a stale answer on failures (500, 502, 503, 504, no connection). A 404,
    410 or 403 is not a failure: an answer that is gone or forbidden must not be served any longer.
    """
    return (
        isinstance(error, UpstreamStatus) and error.status in _CLIENT_ERRORS and not error.retryable
    )


def keep(
    policy: CachePolicy,
    key: str,
    response: Response,
    *,
    now: float,
    cost: float,
    mark: int,
    random: Callable[[], float],
) -> Entry | None:
    """Return the entry for `response`, `None` when it must not be stored.

    Args:
        policy: the section's freshness policy.
        key: the key of the request.
        response: a good answer, with the upstream's header fields.
        now: POSIX seconds.
        cost: seconds that it took.
        mark: the latest purge known when the fetch began.
        random: uniform in [0, 1).
    """
    headers = response.headers
    field = field_value(headers, b"cache-control")
    directives = parse_cache_control(field) if field is not None else {}
    windows = _windows(policy, headers, directives)
    if windows is None:
        return None
    restrictions = response.provenance.restrictions
    if policy.ttl == "upstream" and shared_lifetime(directives):
        restrictions |= Restriction.SHARED_LIFETIME
    # Jitter only shortens the lifetime, so that no answer is fresh for longer than configured.
    fresh_until = now + windows.fresh * (1.0 - policy.jitter * random())
    entry = Entry(
        key,
        response.body or orjson.dumps(response.value),  # 204 has no payload, its value is null
        response.value,
        status=response.status,
        stored_at=now,
        as_of=now - parse_age(headers),
        fresh_until=fresh_until,
        revalidate_until=fresh_until + windows.revalidate,
        error_until=fresh_until + windows.error,
        cost=cost,
        mark=mark,
        restrictions=restrictions,
    )
    return entry if entry.useful_until > now else None


def keep_negative(
    policy: CachePolicy, key: str, *, now: float, cost: float, mark: int
) -> Entry | None:
    """Return the entry for a 404, `None` when such answers are not stored."""
    if not policy.negative:
        return None
    until = now + policy.negative
    return Entry(
        key, b"", None, status=NOT_FOUND, stored_at=now, as_of=now, fresh_until=until,
        revalidate_until=until, error_until=until, cost=cost, mark=mark,
    )  # fmt: skip


def _windows(
    policy: CachePolicy,
    headers: Sequence[tuple[bytes, bytes]],
    directives: Mapping[str, str | None],
) -> Windows | None:
    if forbids_keeping(directives):
        return None
    if policy.ttl == "upstream":
        return upstream_windows(
            headers, directives, policy.stale_while_revalidate, policy.stale_if_error
        )
    assert isinstance(policy.ttl, float | int)  # noqa: S101 - what is not "upstream" is seconds
    return Windows(policy.ttl, policy.stale_while_revalidate, policy.stale_if_error)
