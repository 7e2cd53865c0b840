"""Cache keys: a hash of everything that can change an answer.

The hashed form is a sequence of netstrings (length, colon, bytes). It is unambiguous: no value can
imitate another field. BLAKE2b (RFC 7693) with 160 bits makes the keys short and resistant to
collisions.
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
    """Return `value` prefixed with its length, without the customary comma at the end."""
    return b"%d:%b" % (len(value), value)


class Keys:
    """Computes the keys of one upstream's answers.

    A request's own freshness policy is part of its key: an answer that one section caches for a day
    is not served to another section that wants it at most a minute old.

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
        # By identity, which is cheaper than equality; the reference prevents the reuse of an id.
        self._policies: dict[int, tuple[object, blake2b]] = {}

    def of(self, request: Request) -> str:
        """Return the key of `request`: 40 hexadecimal digits."""
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
