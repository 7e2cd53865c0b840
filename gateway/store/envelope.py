"""The envelope: how an entry is written for other replicas, and read without trusting it.

::

    magic "AGWE" · version · checksum (BLAKE2b, 64 bits, over all that follows)
    as-of · stored-at · fresh until · revalidate until · error until · cost    float64 each
    mark int64 · status uint16 · restrictions uint8 · length of the key uint16 · key · payload

Everything is big-endian. Whatever is not exactly this, under exactly the key that was asked for, is
no entry.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

import orjson

from gateway.freshness import NOT_FOUND, Entry
from gateway.restrictions import Restriction

__all__ = ["VERSION", "open_envelope", "seal"]

VERSION = 3
"""1 had payloads as the upstream wrote them, with keys that may stand there twice; 2 did not say
what the upstream forbids."""

_MAGIC = b"AGWE" + bytes([VERSION])
_SUM = 8
_FIELDS = struct.Struct(">6dqHBH")
_START = len(_MAGIC) + _SUM
_KEY = _START + _FIELDS.size


def seal(entry: Entry) -> bytes:
    """Return the envelope of `entry`."""
    key = entry.key.encode("ascii")
    fields = _FIELDS.pack(
        entry.as_of,
        entry.stored_at,
        entry.fresh_until,
        entry.revalidate_until,
        entry.error_until,
        entry.cost,
        entry.mark,
        entry.status,
        entry.restrictions,
        len(key),
    )
    sealed = fields + key + entry.body
    return _MAGIC + _checksum(sealed) + sealed


def open_envelope(key: str, data: bytes) -> Entry | None:
    """Return the entry in `data`, `None` when it is not one of `key` to the last bit."""
    if not data.startswith(_MAGIC) or len(data) < _KEY:
        return None
    if data[len(_MAGIC) : _START] != _checksum(memoryview(data)[_START:]):
        return None
    (as_of, stored_at, fresh_until, revalidate_until, error_until, cost, mark, status,
     restrictions, length) = _FIELDS.unpack_from(data, _START)  # fmt: skip
    if data[_KEY : _KEY + length] != key.encode("ascii"):
        return None
    body = data[_KEY + length :]
    try:
        value = None if status == NOT_FOUND else orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return Entry(
        key, body, value, status=status, stored_at=stored_at, as_of=as_of,
        fresh_until=fresh_until, revalidate_until=revalidate_until, error_until=error_until,
        cost=cost, mark=mark, restrictions=Restriction(restrictions),
    )  # fmt: skip


def _checksum(data: bytes | memoryview) -> bytes:
    return blake2b(data, digest_size=_SUM).digest()
