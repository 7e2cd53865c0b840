"""Provenance: where an answer came from, and how good it still is.

It travels as one object from the answer of an upstream, through the cache and the engine, to the
document and its header fields.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gateway.values.restrictions import UNRESTRICTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.values.restrictions import Restriction

__all__ = ["FETCHED", "Provenance"]


@dataclass(slots=True)
class Provenance:
    """Where an answer came from, and how good it still is. Many share one, so it is not modified.

    Attributes:
        as_of: POSIX seconds at which the upstream generated it; `None` if it was fetched for this
            request and is not stored.
        fresh_until: POSIX seconds up to which it may be served without revalidation; `None` if it
            is not stored.
        stale: it is no longer fresh and is served anyway.
        reason: the error because of which a stale answer is served, if there is one.
        cache: what the cache did, for `Cache-Status` (RFC 9211): `hit`, `miss`, `stale`, ...;
            empty where no cache is configured.
        restrictions: the upstream's restrictions on reuse.
    """

    as_of: float | None = None
    fresh_until: float | None = None
    stale: bool = False
    reason: Exception | None = None
    cache: str = ""
    restrictions: Restriction = UNRESTRICTED

    def but(self, **changes: Any) -> Provenance:
        """Return it with other values of some attributes."""
        return replace(self, **changes)

    def restricted(self, restrictions: Restriction) -> Provenance:
        """Return it with further restrictions."""
        if not restrictions:
            return self
        return self.but(restrictions=self.restrictions | restrictions)

    @classmethod
    def of_all(cls, provenances: Sequence[Provenance]) -> Provenance:
        """Return the provenance of a list of answers, which is as good as the worst of them."""
        if all(each is FETCHED for each in provenances):
            return FETCHED
        ages = [each.as_of for each in provenances if each.as_of is not None]
        ends = [each.fresh_until for each in provenances if each.fresh_until is not None]
        restrictions = UNRESTRICTED
        for each in provenances:
            if each.restrictions:
                restrictions |= each.restrictions
        return cls(
            as_of=min(ages, default=None),
            fresh_until=min(ends) if len(ends) == len(provenances) else None,
            stale=any(each.stale for each in provenances),
            reason=next((each.reason for each in provenances if each.reason is not None), None),
            cache=next((each.cache for each in provenances if each.cache != "hit"), "hit"),
            restrictions=restrictions,
        )


FETCHED = Provenance()
"""Fetched for this request, without a cache and without restrictions: the usual provenance. It is
shared, so that most answers need none of their own."""
