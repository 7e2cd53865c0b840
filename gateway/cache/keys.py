"""Keys: everything that can change an answer, hashed.

The canonical form is a row of netstrings (length, colon, bytes), which no two different rows share:
whatever a value contains, it cannot pass for another field. BLAKE2b (RFC 7693) of 160 bits then
makes keys that are short and that nobody can make collide.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.call import Request

__all__ = ["Keys", "netstring"]

_BITS = 160
_POLICIES = 4096


def netstring(value: bytes) -> bytes:
    """Return `value` with its length in front, without the customary comma at the end."""
    return b"%d:%b" % (len(value), value)


class Keys:
    """Makes the keys of one upstream's answers.

    A request's own freshness policy is part of its key: what one section keeps for a day is not
    served to another that likes it no older than a minute.

    Args:
        generation: changes whenever the upstream's configuration changes what it answers.
        upstream: its name.
        policy: the upstream's own freshness policy.
    """

    __slots__ = ("_base", "_own", "_policies", "_start")

    def __init__(self, generation: bytes, upstream: str, policy: object = None) -> None:
        self._start = netstring(generation) + netstring(upstream.encode())
        self._base = self._hash(b"")
        self._own = policy
        # By identity, which is cheaper than equality; each policy is held, so no identity recurs.
        self._policies: dict[int, tuple[object, blake2b]] = {}

    def of(self, request: Request) -> str:
        """Return the key of what answers `request`: 40 hexadecimal digits."""
        policy = request.cache
        hashed = (self._base if policy is None else self._for(policy)).copy()
        hashed.update(request.identity)
        return hashed.hexdigest()

    def _for(self, policy: object) -> blake2b:
        known = self._policies.get(id(policy))
        if known is None:
            if len(self._policies) >= _POLICIES:
                self._policies.clear()
            own = policy == self._own
            hashed = self._base if own else self._hash(repr(policy).encode())
            known = self._policies[id(policy)] = (policy, hashed)
        return known[1]

    def _hash(self, policy: bytes) -> blake2b:
        return blake2b(self._start + netstring(policy), digest_size=_BITS // 8)
