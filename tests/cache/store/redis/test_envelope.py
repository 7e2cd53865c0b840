from __future__ import annotations

import math
import struct
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import respx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.answers.document import _timestamp
from gateway.cache.freshness import Entry
from gateway.cache.store.redis import envelope
from gateway.cache.store.redis.envelope import _checksum, seal
from gateway.errors import UpstreamStatus
from gateway.values.restrictions import Restriction
from gateway.values.units import LONGEST
from tests.serving import application, asked
from tests.waiting import until_found

if TYPE_CHECKING:
    from tests.redis_server import RedisServer

FIELDS = ("key", "body", "status", "stored_at", "as_of", "fresh_until", "revalidate_until",
          "error_until", "cost", "mark", "restrictions")  # fmt: skip
MOMENTS = ("as_of", "stored_at", "fresh_until", "revalidate_until", "error_until")
NOW = 1_800_000_000.0
GOOD: dict[str, Any] = {
    "status": 200, "stored_at": NOW, "as_of": NOW, "fresh_until": NOW + 60,
    "revalidate_until": NOW + 120, "error_until": NOW + 180, "cost": 0.1, "mark": 7,
}  # fmt: skip

windows = st.floats(0, LONGEST)
bodies = st.sampled_from([b"null", b"[1,2]", b'{"a":"' + b"x" * 500 + b'"}', b'"\xc3\xa4"'])
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


def made(key: str = "k", body: bytes = b"1", **changes: Any) -> Entry:
    """An entry that is good but for `changes`; it is sealed, so its value does not matter."""
    return Entry(key, body, None, **(GOOD | changes))


def open_envelope(key: str, data: bytes) -> Entry | None:
    return envelope.open_envelope(key, data, NOW)


@st.composite
def entries(draw: Any) -> Entry:
    status = draw(st.sampled_from([200, 203, 204, 404]))
    body = b"" if status == 404 else draw(bodies)
    stored_at = NOW + 3600 - draw(windows)
    fresh_until = stored_at + draw(windows)
    return Entry(
        draw(st.text("0123456789abcdef", max_size=40)), body, None, status=status,
        stored_at=stored_at, as_of=stored_at - draw(windows), fresh_until=fresh_until,
        revalidate_until=fresh_until + draw(windows), error_until=fresh_until + draw(windows),
        cost=draw(windows), mark=draw(st.integers(0, 2**53 - 1)),
        restrictions=Restriction(draw(st.integers(0, sum(Restriction)))),
    )  # fmt: skip


def fields(entry: Entry) -> list[Any]:
    return [getattr(entry, field) for field in FIELDS]


@given(entries())
def test_what_is_sealed_is_opened_the_same(entry: Entry) -> None:
    opened = open_envelope(entry.key, seal(entry))
    assert opened is not None
    assert fields(opened) == fields(entry)
    assert opened.response is None or opened.response.provenance.restrictions == entry.restrictions


@pytest.mark.no_cover
@given(entries(), st.data())
@settings(max_examples=300)
def test_a_truncated_or_longer_envelope_is_none(entry: Entry, data: Any) -> None:
    sealed = seal(entry)
    cut = data.draw(st.integers(0, len(sealed) - 1))
    assert open_envelope(entry.key, sealed[:cut]) is None
    assert open_envelope(entry.key, sealed + data.draw(st.binary(min_size=1, max_size=9))) is None


@pytest.mark.no_cover
@given(entries(), st.data())
@settings(max_examples=300)
def test_a_flipped_bit_makes_it_none(entry: Entry, data: Any) -> None:
    sealed = bytearray(seal(entry))
    for _ in range(data.draw(st.integers(1, 3))):
        bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
        sealed[bit // 8] ^= 1 << (bit % 8)
    if bytes(sealed) != seal(entry):
        assert open_envelope(entry.key, bytes(sealed)) is None


@given(entries(), st.text("0123456789abcdef", max_size=40))
def test_an_envelope_of_another_key_is_none(entry: Entry, key: str) -> None:
    assert (open_envelope(key, seal(entry)) is None) == (key != entry.key)


@given(st.binary(max_size=200))
def test_rubbish_is_none(data: bytes) -> None:
    assert open_envelope("k", data) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"NaN", b"[1e999]", b"\xff", b'"\\ud800"', b" 1", b"[1, 2]", b'{"a":1,"a":2}', b"1\n",
     b'{"a":"' + b"x" * 5000 + b'", "b":1}'],
    ids=ascii,
)  # fmt: skip
def test_a_payload_that_is_not_as_the_ingress_writes_it_is_none(body: bytes) -> None:
    assert open_envelope("k", seal(made(body=body))) is None


@pytest.mark.parametrize("version", [0, 1, 2, 4])
def test_another_version_is_none_even_when_it_is_whole(version: int) -> None:
    sealed = seal(made())
    assert open_envelope("k", sealed) is not None
    assert open_envelope("k", b"AGWE" + bytes([version]) + sealed[5:]) is None


def test_the_format_is_what_its_description_says() -> None:
    entry = Entry("key", b"[1]", [1], status=200, stored_at=2, as_of=1, fresh_until=3,
                  revalidate_until=4, error_until=5, cost=6, mark=7,
                  restrictions=Restriction.NO_CACHE | Restriction.VARIES)  # fmt: skip
    rest = struct.pack(">6dqHBH", 1, 2, 3, 4, 5, 6, 7, 200, 36, 3) + b"key[1]"
    assert seal(entry) == b"AGWE\x03" + _checksum(rest) + rest


def test_restrictions_that_no_gateway_knows_make_it_none() -> None:
    assert open_envelope("k", seal(made(restrictions=128))) is None


@pytest.mark.no_cover
@given(documents)
def test_whatever_the_ingress_writes_is_opened_with_the_same_value(value: Any) -> None:
    body = orjson.dumps(orjson.loads(orjson.dumps(value)))
    opened = open_envelope("k", seal(made(body=body)))
    assert opened is not None
    assert opened.serve("u").value == orjson.loads(body)


def nested(levels: int, inside: bytes = b"") -> bytes:
    return b"[" * levels + inside + b"]" * levels


@pytest.mark.parametrize("inside", [b"", b'"' + b"x" * 5000 + b'"', b"[],[],{}"])
def test_no_more_than_200_levels_are_opened(inside: bytes) -> None:
    own = 1 if inside.startswith(b"[") else 0
    for levels in (2, 199, 200):
        assert open_envelope("k", seal(made(body=nested(levels - own, inside)))) is not None
    for levels in (201, 254, 255, 900, 1023, 5000):
        assert open_envelope("k", seal(made(body=nested(levels - own, inside)))) is None


@pytest.mark.parametrize("status", [0, 100, 199, 300, 304, 400, 410, 500, 777, 65535])
def test_a_status_that_is_never_stored_is_none(status: int) -> None:
    assert open_envelope("k", seal(made(status=status))) is None


def test_a_negative_entry_has_no_payload() -> None:
    assert open_envelope("k", seal(made(status=404, body=b""))) is not None
    assert open_envelope("k", seal(made(status=404))) is None


@pytest.mark.parametrize(
    "moment", [math.nan, math.inf, -math.inf, 1e18, -1e18, 253402300800.0, -1.0]
)
@pytest.mark.parametrize("field", [*MOMENTS, "cost"])
def test_a_time_out_of_bounds_is_none(field: str, moment: float) -> None:
    changes: dict[str, Any] = {field: moment}
    assert open_envelope("k", seal(made(**changes))) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"as_of": NOW + 1},  # later than it was stored
        {"fresh_until": NOW - 1},  # stale before it was stored
        {"revalidate_until": NOW + 59},
        {"error_until": NOW + 59},
        {"fresh_until": NOW + LONGEST + 1, "revalidate_until": NOW + LONGEST + 1,
         "error_until": NOW + LONGEST + 1},
        {"revalidate_until": NOW + 61 + LONGEST},
        {"error_until": NOW + 61 + LONGEST},
        {"cost": LONGEST + 1},
        {"mark": -1},
        {"mark": 2**53},
        {"mark": 2**63 - 1},
    ],
    ids=str,
)  # fmt: skip
def test_figures_that_contradict_each_other_are_none(changes: dict[str, Any]) -> None:
    assert open_envelope("k", seal(made())) is not None
    assert open_envelope("k", seal(made(**changes))) is None


def test_an_entry_from_the_future_is_none_but_for_what_clocks_differ() -> None:
    for ahead, opened in ((3599, True), (3601, False)):
        later = {field: GOOD[field] + ahead for field in MOMENTS}
        assert (open_envelope("k", seal(made(**later))) is not None) is opened


numbers = st.floats() | st.sampled_from([NOW, NOW + 1, NOW + 60, 0.0, 1e18])
drawn_bodies = st.binary(max_size=40) | documents.map(orjson.dumps) | (
    st.integers(0, 1100).map(nested)
)  # fmt: skip


@pytest.mark.no_cover
@given(
    st.lists(numbers, min_size=6, max_size=6), st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 65535) | st.sampled_from([200, 404]), st.integers(0, 255),
    st.integers(0, 65535) | st.just(1),
    drawn_bodies,
)  # fmt: skip
@example([NOW, NOW, NOW + 1, NOW + 1, NOW + 1, 0.1], 0, 200, 127, 1, b"1")
@settings(max_examples=200)
def test_whatever_is_sealed_is_none_or_can_be_served(
    times: list[float], mark: int, status: int, restrictions: int, length: int, body: bytes
) -> None:
    rest = struct.pack(">6dqHBH", *times, mark, status, restrictions, length) + b"k" + body
    check(open_envelope("k", b"AGWE\x03" + _checksum(rest) + rest))


@pytest.mark.no_cover
@given(entries(), st.data())
@settings(max_examples=200)
def test_a_mutation_with_the_right_checksum_is_none_or_can_be_served(
    entry: Entry, data: Any
) -> None:
    rest = bytearray(seal(entry)[13:])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(rest) - 1))
        what = data.draw(st.sampled_from(["set", "insert", "delete"]))
        if what == "set":
            rest[at] = data.draw(st.integers(0, 255))
        elif what == "insert":
            rest[at:at] = data.draw(st.binary(max_size=9))
        else:
            del rest[at : at + data.draw(st.integers(0, 9))]
        rest = rest or bytearray(1)
    check(open_envelope(entry.key, b"AGWE\x03" + _checksum(bytes(rest)) + bytes(rest)))


def check(opened: Entry | None) -> None:
    """Go through all that answers do with an entry."""
    if opened is None:
        return
    for moment in MOMENTS:
        assert 0 <= getattr(opened, moment) <= NOW + 3600 + 2 * LONGEST
        _timestamp(getattr(opened, moment))
    assert 0 <= opened.cost <= LONGEST
    assert 0 <= opened.mark < 2**53
    assert int(opened.useful_until) >= 0
    if opened.status == 404:
        with pytest.raises(UpstreamStatus):
            opened.serve("u")
    else:
        assert opened.status in range(200, 300)
        assert orjson.dumps(opened.serve("u").value) == opened.body
    assert seal(opened)


SHARED = """
upstreams: {a: {base_url: http://a.test, cache: {ttl: 1h}}}
dashboards: {d: {path: "/d", sections: {x: {get: "a:/x"}}}}
"""


@pytest.mark.parametrize(
    "changes",
    [
        {"as_of": math.nan}, {"fresh_until": math.nan}, {"as_of": 1e18, "stored_at": 1e18},
        {"fresh_until": math.inf}, {"error_until": math.inf}, {"cost": math.nan}, {"status": 777},
        {"body": nested(900)}, {"body": nested(230)},
    ],
    ids=lambda changes: str(changes)[:40],
)  # fmt: skip
async def test_rubbish_in_redis_is_not_served_and_is_replaced(
    changes: dict[str, Any], own_server: RedisServer
) -> None:
    def stored(key: str) -> Entry | None:
        data = own_server.command("GET", f"gateway:{{{key}}}")
        return envelope.open_envelope(key, data, time.time()) if data else None

    async def served() -> Entry | None:
        """Ask a process that has nothing in its memory yet; return what is in Redis afterwards.

        That is nothing or the same as before where the machine was too busy for Redis to answer.
        """
        app: Any = application(SHARED, redis_url=own_server.url)
        async with app.router.lifespan_context(app), asked(app) as client:
            answer = await client.get("/d")
            assert (answer.status_code, answer.json()["data"]) == (200, {"x": {"n": 1}})
        names: list[bytes] = own_server.command("KEYS", "gateway:{*}")
        keys = [name[len("gateway:{") : -1].decode() for name in names if name.endswith(b"}")]
        return stored(keys[0]) if keys else None

    with respx.mock() as router:
        upstream = router.get("http://a.test/x").respond(json={"n": 1})
        entry = await until_found(served)
        for field, value in changes.items():
            setattr(entry, field, value)
        own_server.command("SET", f"gateway:{{{entry.key}}}", seal(entry))
        assert stored(entry.key) is None
        calls = upstream.call_count
        await until_found(served)
        assert upstream.call_count > calls
