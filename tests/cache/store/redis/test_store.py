from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cache.store.base import StoreChange, StoreRefused
from gateway.cache.store.redis.envelope import seal
from tests.cache.store.conftest import entry
from tests.waiting import at_once, until, until_found

if TYPE_CHECKING:
    from gateway.cache.freshness import Entry
    from gateway.cache.store.base import Lease
    from gateway.cache.store.redis.store import RedisStore
    from gateway.events import Event
    from tests.redis_server import RedisServer

Make = Any


async def stored(store: RedisStore, key: str = "k") -> Entry:
    """Wait until what is written in the background has been written."""
    return await until_found(lambda: store.get(key))


async def leased(store: RedisStore, key: str = "k") -> Lease:
    """Wait until the lease of `key` is free, and take it."""

    async def ask() -> Lease | None:
        return (await store.acquire(key)).lease

    return await until_found(ask)


async def test_what_one_replica_stores_another_finds(make: Make, server: RedisServer) -> None:
    one, two = make(server.url), make(server.url)
    await one.open()
    await two.open()
    one.put(entry(body=b'{"a":[1,2]}'))
    found = await stored(two)
    assert found.body == b'{"a":[1,2]}'
    assert found.serve("u").value == {"a": [1, 2]}
    one.discard("k")
    await one._writes.drain()
    assert await two.get("k") is None


async def test_an_entry_leaves_redis_when_it_is_of_no_more_use(
    make: Make, server: RedisServer
) -> None:
    store = make(server.url, namespace="lifetime")
    await store.open()
    store.put(entry(error_until=time.time() + 100_000))
    await stored(store)
    assert 99_000_000 < server.command("PTTL", "lifetime:{k}") <= 100_000_000


async def test_reads_of_one_turn_are_one_round_trip(make: Make, server: RedisServer) -> None:
    store = make(server.url)
    await store.open()
    for number in range(10):
        store.put(entry(f"k{number}", b"%d" % number))
    await store._writes.drain()
    before = server.command("INFO", "commandstats")
    found = await asyncio.gather(*(store.get(f"k{number % 10}") for number in range(30)))
    after = server.command("INFO", "commandstats")
    assert [one.serve("u").value for one in found] == [*range(10)] * 3
    calls = [int(_calls(stats, "cmdstat_mget")) for stats in (before, after)]
    assert calls[1] - calls[0] == 1
    assert _calls(after, "cmdstat_get") == _calls(before, "cmdstat_get")


def _calls(stats: Any, name: str) -> int:
    return int(stats.get(name, {}).get("calls", 0))


async def test_nothing_looks_for_keys_or_flushes(make: Make, server: RedisServer) -> None:
    store = make(server.url)
    await store.open()
    store.put(entry())
    await stored(store)
    with pytest.raises(NotImplementedError):
        await store._link._bytes.clear()
    assert await store.get("k") is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"rubbish",
        seal(entry("other")),
        seal(entry())[:-1],
        b"AGWE\x00" + seal(entry())[5:],
        seal(entry(as_of=math.nan)),
        seal(entry(fresh_until=math.inf)),
        seal(entry(status=777)),
        seal(entry(body=b"[" * 900 + b"]" * 900)),
    ],
    ids=[
        "empty",
        "rubbish",
        "other key",
        "truncated",
        "old version",
        "not a number",
        "infinite",
        "no such status",
        "too deep",
    ],
)
async def test_an_invalid_entry_is_a_miss_and_deleted(
    data: bytes, make: Make, server: RedisServer
) -> None:
    store = make(server.url, namespace="bad")
    await store.open()
    server.command("SET", "bad:{k}", data)
    assert await store.get("k") is None
    await until(lambda: not server.command("EXISTS", "bad:{k}"))
    store.put(entry())
    await stored(store)


async def test_a_value_of_the_wrong_type_is_a_miss_and_deleted(
    make: Make, server: RedisServer
) -> None:
    store = make(server.url, namespace="wrong")
    await store.open()
    server.command("RPUSH", "wrong:{k}", "a")
    assert await store.get("k") is None
    lease, found = await store.acquire("k")
    assert found is None
    await until(lambda: not server.command("EXISTS", "wrong:{k}"))
    store.put(entry(), lease)
    await stored(store)


async def test_a_lease_has_one_holder_and_its_entry_reaches_who_waits(
    make: Make, server: RedisServer
) -> None:
    one, two = make(server.url), make(server.url)
    await one.open()
    await two.open()
    held, _ = await one.acquire("k")
    assert held is not None
    assert held.token
    assert await two.acquire("k") == (None, None)
    one.put(entry(), held)
    await stored(two)
    again, found = await two.acquire("k")
    assert found is not None
    assert again is not None


async def test_a_lease_given_back_goes_to_the_next(make: Make, server: RedisServer) -> None:
    one, two = make(server.url), make(server.url)
    await one.open()
    await two.open()
    held, _ = await one.acquire("k")
    one.release(held)
    await one._writes.drain()
    assert (await two.acquire("k")).lease is not None


async def test_the_lease_of_a_dead_holder_ends(make: Make, server: RedisServer) -> None:
    one, two = (make(server.url, lease=0.5, namespace="dead-holder") for _ in range(2))
    await one.open()
    await two.open()
    held, _ = await one.acquire("k")
    held.stop()  # it is no longer renewed
    assert server.command("PTTL", "dead-holder:{k}:lease") <= 500
    await leased(two)


async def test_the_lease_of_a_slow_holder_is_renewed(make: Make, server: RedisServer) -> None:
    one, two = (make(server.url, lease=30, namespace="slow-holder") for _ in range(2))
    await one.open()
    await two.open()
    held, _ = await one.acquire("k")
    timer = held.timer
    assert timer.when() <= asyncio.get_running_loop().time() + 10  # a third of its time
    server.command("PEXPIRE", "slow-holder:{k}:lease", 5000)
    one._leases._renew(held)  # as the timer does
    assert held.timer is not timer  # and it will again
    timer.cancel()
    await one._writes.drain()
    assert server.command("PTTL", "slow-holder:{k}:lease") > 5000
    assert (await two.acquire("k")).lease is None
    one.put(entry(), held)
    await stored(two)


async def test_a_lease_is_not_renewed_for_ever(make: Make, server: RedisServer) -> None:
    now = 1000.0
    store = make(server.url, lease=0.1, clock=lambda: now)
    await store.open()
    assert (await store.acquire("k")).lease
    now = 1031.0
    await leased(store)


async def test_who_has_lost_the_lease_does_not_write(make: Make, server: RedisServer) -> None:
    one, two = make(server.url, lease=0.1), make(server.url, lease=30)
    await one.open()
    await two.open()
    late, _ = await one.acquire("k")
    late.stop()
    held = await leased(two)
    two.put(entry(body=b'"new"'), held)
    assert (await stored(two)).body == b'"new"'
    one.put(entry(body=b'"old"'), late)
    await one._writes.drain()
    assert (await two.get("k")).body == b'"new"'


async def test_who_gives_up_waiting_gives_the_lease_back(make: Make, server: RedisServer) -> None:
    store = make(server.url, lease=30)
    await store.open()
    asking = asyncio.create_task(store.acquire("k"))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await leased(store)


async def test_after_a_loss_no_caller_waits_for_older_leases(
    make: Make, own_server: RedisServer
) -> None:
    now = 1000.0
    store = make(own_server.url, namespace="doubt", lease=0.3, clock=lambda: now)
    await store.open()
    own_server.kill()
    await until(lambda: not store.up)
    own_server.start()
    await until(lambda: store.up)
    own_server.command("SET", "doubt:{k}:lease", "somebody", "PX", 600_000)
    granted, _ = await store.acquire("k")
    assert granted.token == b""
    now += 0.4
    assert (await store.acquire("k")).lease is None


@pytest.mark.parametrize("kind", ["list", "eternal"])
async def test_a_lease_without_an_end_is_broken(kind: str, make: Make, server: RedisServer) -> None:
    store = make(server.url, namespace=f"eternal-{kind}")
    await store.open()
    name = f"eternal-{kind}:{{k}}:lease"
    if kind == "list":
        server.command("RPUSH", name, "a")
    else:
        server.command("SET", name, "a")
    assert (await store.acquire("k")).lease is None
    await store._writes.drain()
    assert (await store.acquire("k")).lease is not None


async def test_large_entries_stay_in_this_process(make: Make, server: RedisServer) -> None:
    one = make(server.url, max_entry=10)
    await one.open()
    held, _ = await one.acquire("k")
    one.put(entry(body=b'"0123456789"'), held)
    one.put(entry("j", body=b'"0123456789"'))
    await one._writes.drain()
    assert await one.get("k") is None
    assert await one.get("j") is None
    assert (await one.acquire("k")).lease is not None


async def test_purges_reach_every_replica_by_pub_sub(make: Make, server: RedisServer) -> None:
    one, two = make(server.url), make(server.url)
    two._watch._look = _looks_never
    await one.open()
    await two.open()
    await until(lambda: _subscribers(server, one) == 2)
    for tag in ("dashboard:a", "dashboard:b"):
        assert await one.purge(tag) == 2
        mark = one.purges.latest
        assert one.purges.cover(mark - 1, "", "", (tag,))
        await _learns(two, mark)
        assert two.purges.cover(mark - 1, "", "", (tag,))


async def _learns(store: RedisStore, mark: int) -> None:
    await until(lambda: store.purges.latest == mark)


async def _looks_never() -> None:
    pass


async def test_a_replica_that_comes_later_learns_of_purges(make: Make, server: RedisServer) -> None:
    one, late = make(server.url), make(server.url)
    await one.open()
    await one.purge("dashboard:a")
    await late.open()
    await until(lambda: late.purges.latest == one.purges.latest)


def _subscribers(server: RedisServer, store: RedisStore) -> int:
    assert store._link._bytes is not None
    channel = store._link._bytes.channel
    return int(server.command("PUBSUB", "NUMSUB", channel)[1])


async def test_a_purge_that_pub_sub_has_lost_is_found_by_looking(
    make: Make, server: RedisServer
) -> None:
    store = make(server.url, namespace="lost")
    await store.open()
    server.command("HSET", "lost:purges", "tag:x", "77", "", "77")
    await until(lambda: store.purges.cover(76, "", "", ("tag:x",)))


async def test_a_purge_that_was_missed_is_found_although_a_later_one_is_known(
    make: Make, server: RedisServer
) -> None:
    store = make(server.url, namespace="cut-off")
    await store.open()
    await store.purge("tag:own")
    before = store.purges.latest - 1
    server.command("HSET", "cut-off:purges", "tag:missed", str(before))
    assert not store.purges.cover(before - 1, "", "", ("tag:missed",))
    store._seen = 0  # it has not looked since: it was cut off
    await until(lambda: store.purges.cover(before - 1, "", "", ("tag:missed",)))


async def test_marks_grow_even_when_the_clock_does_not(make: Make, server: RedisServer) -> None:
    store = make(server.url)
    await store.open()
    marks = []
    for _ in range(5):
        await store.purge("t")
        marks.append(store.purges.latest)
    assert marks == sorted(set(marks))


async def test_rubbish_in_the_place_of_marks_is_no_purge(make: Make, server: RedisServer) -> None:
    store = make(server.url, namespace="rubbish")
    await store.open()
    server.command("HSET", "rubbish:purges", "tag:y", "9" * 400, "tag:z", "x", "", "nonsense")
    server.command("PUBLISH", "rubbish:purges", "9" * 5000 + " t")
    await store._look()
    assert store.purges.latest == 0
    assert await store.purge("tag:x") >= 1
    assert 0 < store.purges.latest < 2**53
    assert store._unpublished == {}


async def test_a_purge_without_a_server_is_published_later(
    make: Make, own_server: RedisServer
) -> None:
    one, two = make(own_server.url), make(own_server.url)
    await one.open()
    await two.open()
    own_server.kill()
    await until(lambda: not one.up)
    assert await one.purge("t") == 1
    mark = one.purges.latest
    assert one.purges.cover(mark - 1, "", "", ("t",))
    own_server.start()
    await until(lambda: two.purges.latest >= mark)
    await until(lambda: not one._unpublished)


async def test_a_purge_that_cannot_be_published_yet_outdates_nothing_twice(
    make: Make, own_server: RedisServer
) -> None:
    store = make(own_server.url)
    await store.open()
    own_server.kill()
    await until(lambda: not store.up)
    await store.purge("t")
    mark = store.purges.latest
    for _ in range(3):
        await store._look()
    assert store.purges.latest == mark
    assert store._unpublished == {"t": mark}


async def test_a_purge_whose_publication_is_cancelled_is_published_later(
    make: Make, own_server: RedisServer
) -> None:
    one, two = make(own_server.url), make(own_server.url)
    await two.open()
    await one.purge("t")  # it is not connected yet
    mark = one.purges.latest
    await one.open()
    await one._watch.aclose()
    publishing = asyncio.create_task(one._look())
    await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert one._unpublished == {"t": mark}
    await one._look()
    assert one._unpublished == {}
    await until(lambda: two.purges.latest > mark)


async def test_a_store_that_no_one_asks_notices_that_the_server_is_gone(
    make: Make, own_server: RedisServer, heard: list[Event]
) -> None:
    store = make(own_server.url)
    looked = asyncio.Event()

    async def look() -> None:
        await store._look()
        looked.set()

    store._watch._look = look
    await store.open()
    for _ in range(2):
        looked.clear()
        await looked.wait()  # the subscription is confirmed: now it only listens
        own_server.kill()
        await until(lambda: not store.up)
        own_server.start()
        await until(lambda: store.up)
    changes = [event.up for event in heard if isinstance(event, StoreChange)]
    assert changes == [True, False, True, False, True]


async def test_a_store_that_no_one_asks_notices_that_the_server_is_silent(
    make: Make, own_server: RedisServer
) -> None:
    store = make(own_server.url, timeout=0.04)
    await store.open()
    own_server.pause()
    await until(lambda: not store.up)
    own_server.resume()
    await until(lambda: store.up)


async def test_without_a_server_everything_is_a_miss_at_once(
    make: Make, own_server: RedisServer, heard: list[Event]
) -> None:
    own_server.kill()
    store = make(own_server.url)
    await store.open()
    assert not store.up
    for _ in range(100):
        assert at_once(store.get("k")) is None
        held, found = at_once(store.acquire("k"))
        assert (held.token, found) == (b"", None)
        store.put(entry(), held)
        store.release(held)
        store.discard("k")
    own_server.start()
    await until(lambda: store.up)
    store.put(entry())
    await stored(store)
    assert heard == [StoreChange("", "", up=True)]


async def test_a_killed_server_causes_no_error_and_is_used_again(
    make: Make, own_server: RedisServer, heard: list[Event]
) -> None:
    store = make(own_server.url)
    await store.open()
    store.put(entry())
    await stored(store)
    own_server.kill()
    assert await store.get("k") is None
    await until(lambda: not store.up)
    own_server.start()
    await until(lambda: store.up)
    store.put(entry())
    await stored(store)
    assert [event.up for event in heard if isinstance(event, StoreChange)] == [True, False, True]


async def test_a_silent_server_is_waited_for_once(make: Make, own_server: RedisServer) -> None:
    store = make(own_server.url, timeout=0.04)
    await store.open()
    store.put(entry())
    await stored(store)
    own_server.pause()
    found = await asyncio.gather(*(store.get(f"k{n}") for n in range(50)))
    assert not any(found)
    assert not store.up
    for _ in range(100):
        assert at_once(store.get("k")) is None
        assert at_once(store.acquire("k")).lease is not None
    own_server.resume()
    await until(lambda: store.up)
    await stored(store)


async def test_a_server_in_client_pause_is_a_silent_one(
    make: Make, own_server: RedisServer
) -> None:
    store = make(own_server.url, timeout=0.04)
    await store.open()
    own_server.command("CLIENT", "PAUSE", "1500", "ALL")
    assert await store.get("k") is None
    assert not store.up
    await until(lambda: store.up)


@pytest.mark.parametrize("harm", ["fill", "make_read_only"])
async def test_a_server_that_takes_no_writes_is_read_all_the_same(
    harm: str, make: Make, own_server: RedisServer, heard: list[Event]
) -> None:
    now = 1000.0
    store = make(own_server.url, clock=lambda: now)
    await store.open()
    store.put(entry())
    await stored(store)
    getattr(own_server, harm)()
    held, found = await store.acquire("j")
    assert (held.token, found) == (b"", None)
    assert await store.get("k") is not None
    assert store.up
    assert any(isinstance(event, StoreRefused) for event in heard)
    assert not store._link.writable
    own_server.make_room() if harm == "fill" else own_server.make_writable()
    now += 1.1
    assert store._link.writable
    held, _ = await store.acquire("j")
    assert held.token


async def test_closing_finishes_what_is_being_written(make: Make, server: RedisServer) -> None:
    one, two = make(server.url), make(server.url)
    await one.open()
    await two.open()
    for number in range(200):
        one.put(entry(f"k{number}"))
    await one.aclose()
    assert await two.get("k199") is not None


async def test_closing_does_not_wait_for_a_silent_server(
    make: Make, own_server: RedisServer
) -> None:
    store = make(own_server.url)
    await store.open()
    own_server.pause()
    store.put(entry())
    await store.aclose()  # it would wait for ever


async def test_connections_stay_few(make: Make, server: RedisServer) -> None:
    store = make(server.url)
    await store.open()
    await asyncio.gather(*(store.acquire(f"k{n}") for n in range(500)))
    await asyncio.gather(*(store.get(f"k{n}") for n in range(500)))
    assert len(store._link._bytes.client.connection_pool._in_use_connections) <= 8
