"""The envelope: the format of an entry in the shared store, which is read without trusting it.

::

    magic "AGWE" · version · checksum (BLAKE2b, 64 bits, over all that follows)
    as-of · stored-at · fresh until · revalidate until · error until · cost    float64 each
    mark int64 · status uint16 · restrictions uint8 · length of the key uint16 · key · payload

Everything is big-endian. Anything else, or an envelope with another key, is not an entry. Nor is an
envelope with a valid checksum that no gateway can have written: times that are not numbers, out of
order or too far apart, a status that is never stored, a payload that is nested too deep or not
serialised as the decoder does it.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Any

import orjson

from gateway.cache.freshness import NOT_FOUND, Entry
from gateway.cache.store.purges import MARKS
from gateway.expressions.nesting import DEEPEST, Frame
from gateway.values.restrictions import Restriction
from gateway.values.units import LONGEST

__all__ = ["VERSION", "open_envelope", "seal"]

VERSION = 3
"""Version 1 had payloads as sent by the upstream, possibly with duplicate keys; version 2 had no
restrictions."""

_MAGIC = b"AGWE" + bytes([VERSION])
_SUM = 8
_FIELDS = struct.Struct(">6dqHBH")
_START = len(_MAGIC) + _SUM
_KEY = _START + _FIELDS.size
_SUCCESS = range(200, 300)
_SMALL = 1024
_CLOCKS_DIFFER = 3600.0
_ALL_RESTRICTIONS = sum(Restriction)
_NONE: Any = object()


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


def open_envelope(key: str, data: bytes, now: float) -> Entry | None:
    """Return the entry in `data`, `None` when it is not a valid envelope of `key`.

    Args:
        key: the requested key.
        data: the stored bytes.
        now: POSIX seconds; an entry from the future is invalid, apart from clock differences.
    """
    if not _whole(data):
        return None
    (as_of, stored_at, fresh_until, revalidate_until, error_until, cost, mark, status,
     restrictions, length) = _FIELDS.unpack_from(data, _START)  # fmt: skip
    body = data[_KEY + length :]
    # Each of these comparisons is also false for NaN.
    possible = (
        data[_KEY : _KEY + length] == key.encode("ascii")
        and 0 <= as_of <= stored_at <= now + _CLOCKS_DIFFER
        and stored_at <= fresh_until <= stored_at + LONGEST
        and fresh_until <= revalidate_until <= fresh_until + LONGEST
        and fresh_until <= error_until <= fresh_until + LONGEST
        and 0 <= cost <= LONGEST
        and 0 <= mark < MARKS.stop
        and restrictions <= _ALL_RESTRICTIONS
    )
    if not possible:
        return None
    value = _payload(status, body)
    if value is _NONE:
        return None
    return Entry(
        key, body, value, status=status, stored_at=stored_at, as_of=as_of,
        fresh_until=fresh_until, revalidate_until=revalidate_until, error_until=error_until,
        cost=cost, mark=mark, restrictions=Restriction(restrictions),
    )  # fmt: skip


def _whole(data: bytes) -> bool:
    return (
        data.startswith(_MAGIC)
        and len(data) >= _KEY
        and data[len(_MAGIC) : _START] == _checksum(memoryview(data)[_START:])
    )


def _payload(status: int, body: bytes) -> Any:
    """Return the value of `body`, `_NONE` where a gateway never stores it with `status`."""
    if status == NOT_FOUND:
        return _NONE if body else None
    if status not in _SUCCESS:
        return _NONE
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _NONE
    # Serialised again it must give the same bytes: compact, without duplicate keys, and not too
    # deep for the frame. In a small payload counting brackets is quicker.
    flat = len(body) <= _SMALL and body.count(b"[") + body.count(b"{") <= DEEPEST
    written = orjson.dumps(value) if flat else Frame(DEEPEST).write(value)
    return value if written == body else _NONE


def _checksum(data: bytes | memoryview) -> bytes:
    return blake2b(data, digest_size=_SUM).digest()
