from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from gateway.cache.freshness import Entry
from gateway.cache.store import MemoryStore
from gateway.cache.store.memory import footprint
from gateway.offload import UNDECODED
from tests.cache.store.conftest import entry


def test_the_least_recently_used_goes_first() -> None:
    one = footprint(entry())
    store = MemoryStore(3 * one, max_entry=one)
    for key in "abc":
        store.put(entry(key))
    assert store.peek("a") is not None
    store.put(entry("d"))
    assert [store.peek(key) is not None for key in "abcd"] == [True, False, True, True]
    assert (len(store), store.size) == (3, 3 * one)


def test_what_is_replaced_or_discarded_is_counted_no_more() -> None:
    store = MemoryStore()
    store.put(entry("a", b'"' + b"x" * 1000 + b'"'))
    store.put(entry("a", b"1"))
    assert store.size == footprint(entry("a", b"1"))
    store.discard("a")
    store.discard("a")
    assert (len(store), store.size) == (0, 0)


def test_too_large_an_entry_is_not_stored_and_removes_the_old_one() -> None:
    store = MemoryStore(10_000)
    store.put(entry("a", b"1"))
    store.put(entry("a", b'"' + b"x" * 5000 + b'"'))
    assert store.peek("a") is None
    assert store.size == 0


@pytest.mark.no_cover
def test_any_number_of_keys_stays_inside_the_bound() -> None:
    store = MemoryStore(1_000_000)
    body, value = b'{"id":1}', {"id": 1}
    times: dict[str, Any] = {
        "status": 200, "stored_at": 0, "as_of": 0, "fresh_until": 0, "revalidate_until": 0,
        "error_until": 0, "cost": 0, "mark": 0,
    }  # fmt: skip
    largest = 0
    for number in range(100_000):
        store.put(Entry(f"{number:040}", body, value, **times))
        largest = max(largest, store.size)
    assert largest <= 1_000_000
    assert len(store) > 900


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":1,"name":"Leanne","address":{"geo":{"lat":"-37.3","lng":"81.1"}},"ok":true}',
        b"[" + b",".join(b"%d" % n for n in range(1000, 1200)) + b"]",
        b"[" + b",".join([b'{"a":1,"b":2}'] * 100) + b"]",
        b'"' + b"x" * 2000 + b'"',
        b"7",
    ],
    ids=["object", "numbers", "objects", "text", "tiny"],
)
def test_what_is_counted_is_what_is_taken(body: bytes) -> None:
    store = MemoryStore(1 << 40)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(300):
            store.put(entry(f"{number:040}", bytes(bytearray(body))))
        taken = (tracemalloc.get_traced_memory()[0] - before) / 300
    finally:
        tracemalloc.stop()
    assert 0.5 < taken / footprint(entry("0" * 40, body)) < 1.0


async def test_it_is_a_store_of_this_process_alone() -> None:
    store = MemoryStore(now=lambda: 1000.0)
    await store.open()
    assert (store.shared, store.up) == (False, True)
    store.put(entry("a"))
    assert await store.get("a") is store.peek("a")
    lease, found = await store.acquire("a")
    assert lease is not None
    assert (lease.token, found) == (b"", None)
    store.release(lease)
    assert await store.purge("t") == 1
    assert await store.purge("t") == 1
    assert store.purges.latest == 1_000_001
    await store.aclose()
    assert (store.peek("a"), store.size) == (None, 0)


def test_what_was_never_decoded_takes_its_text_alone() -> None:
    body = b"[" + b"1," * 1000 + b"1]"
    kept = entry("a", body)
    decoded = footprint(kept)
    assert kept.response is not None
    kept.response.value = UNDECODED
    assert len(body) < footprint(kept) < decoded
