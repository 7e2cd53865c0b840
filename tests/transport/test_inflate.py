"""Inflating untrusted content."""

from __future__ import annotations

import asyncio
import gzip
from functools import partial

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.aio.byte_budget import ByteBudget
from gateway.transport import Http1Transport, HttpxTransport, InflatedTooLarge, Origin
from gateway.transport.inflate import Inflater, content_coding, inflate
from tests.fault_server import FaultServer, deflated, encoded, gzip_bomb, in_turn, whole


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (b"", b""),
        (b"identity", b""),
        (b"gzip", b"gzip"),
        (b" X-Gzip ", b"gzip"),
        (b"identity, deflate,", b"deflate"),
    ],
)
def test_the_one_coding(value: bytes, coding: bytes) -> None:
    assert content_coding(value) == coding


@pytest.mark.parametrize("value", [b"gzip, gzip", b"deflate,gzip", b"br", b"zstd", b"compress"])
def test_layers_and_strangers_are_refused(value: bytes) -> None:
    with pytest.raises(httpx.DecodingError):
        content_coding(value)


@given(
    body=st.binary(max_size=5000),
    form=st.sampled_from(["gzip", "members", "zlib", "bare"]),
    step=st.sampled_from([1, 2, 7, 100_000]),
)
def test_whatever_the_pieces_the_body_comes_out(body: bytes, form: str, step: int) -> None:
    raw = {
        "gzip": gzip.compress(body, mtime=0),
        "members": gzip.compress(body[:100], mtime=0) + gzip.compress(body[100:], mtime=0),
        "zlib": deflated(body),
        "bare": deflated(body, wrapped=False),
    }[form]
    inflater = Inflater(b"gzip" if form in {"gzip", "members"} else b"deflate", 5000)
    out = b""
    for start in range(0, len(raw), step):
        out += b"".join(part for part in inflater.slices(raw[start : start + step]))
    inflater.finish()
    assert out == body


def test_slices_are_small_and_hold_the_whole_content() -> None:
    raw = gzip_bomb(3 << 20)
    slices = list(Inflater(b"gzip", 4 << 20).slices(raw))
    assert max(len(part) for part in slices) <= 256 * 1024
    assert sum(len(part) for part in slices) == 3 << 20


@pytest.mark.parametrize("bound", [0, 1000, (3 << 20) - 1])
def test_the_bound_is_exact(bound: int) -> None:
    inflater = Inflater(b"gzip", bound)
    with pytest.raises(InflatedTooLarge):
        list(inflater.slices(gzip_bomb(3 << 20)))


@pytest.mark.parametrize(
    ("coding", "raw"),
    [
        (b"gzip", b"no gzip"),
        (b"gzip", gzip.compress(b"x", mtime=0) + b"garbage"),
        (b"gzip", gzip.compress(b"x" * 100, mtime=0)[:-1]),
        (b"gzip", b"\x1f"),
        (b"deflate", b"x"),
        (b"deflate", deflated(b"x") + b"garbage"),
        (b"deflate", deflated(b"x" * 100)[:-1]),
        (b"deflate", b"\xff\xff\xff"),
    ],
)
async def test_damage_is_an_error(coding: bytes, raw: bytes) -> None:
    with pytest.raises(httpx.DecodingError):
        await inflate(coding, raw, 10_000)


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
async def test_no_bytes_are_no_body(coding: bytes) -> None:
    assert await inflate(coding, b"", 10) == b""


@pytest.mark.parametrize(
    "raw", [gzip_bomb(64 << 20), gzip.compress(b"", mtime=0) * 20_000], ids=["bomb", "members"]
)
async def test_the_loop_runs_on_meanwhile(raw: bytes) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(others())
    await inflate(b"gzip", raw, 64 << 20)
    beside.cancel()
    assert turns > 50


async def test_a_small_body_does_not_wait() -> None:
    step = inflate(b"gzip", gzip.compress(b"small", mtime=0), 100)
    with pytest.raises(StopIteration) as stopped:
        step.send(None)
    assert stopped.value.value == b"small"


async def test_it_stops_when_time_is_up() -> None:
    past = asyncio.get_running_loop().time() - 1
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.ensure_future(others())
    with pytest.raises(httpx.ReadTimeout):
        await inflate(b"gzip", gzip_bomb(64 << 20), 1 << 30, past)
    beside.cancel()
    assert turns < 4  # all of it takes over sixty


async def test_what_inflates_to_little_takes_nothing_of_the_budget() -> None:
    budget = ByteBudget(1)
    with await budget.hold("other").fill(1):  # there is nothing left to take
        hold = budget.hold("up")
        body = b"x" * 1_000_000
        assert await inflate(b"gzip", gzip.compress(body), 1 << 23, None, hold) == body
        assert hold.size == 0


async def test_what_inflates_to_much_waits_for_room_and_holds_what_it_needs() -> None:
    bound = 8 << 20
    budget = ByteBudget(bound)
    body = b"x" * (3 << 20)
    first = budget.hold("up")
    assert await inflate(b"gzip", gzip.compress(body), bound, None, first) == body
    assert (first.size, budget.used) == (len(body), len(body))
    second = budget.hold("up")
    waiting = asyncio.create_task(inflate(b"gzip", gzip.compress(body), bound, None, second))
    while not budget.waiting:
        await asyncio.sleep(0)
    assert not waiting.done()
    first.release()
    assert await waiting == body
    second.release()
    assert budget.used == 0


@pytest.mark.parametrize(
    "raw",
    [gzip_bomb(32 << 20), gzip.compress(bytes(4 << 20), mtime=0)[:-1]],
    ids=["bomb", "cut short"],
)
async def test_what_cannot_be_inflated_gives_its_room_back(raw: bytes) -> None:
    budget = ByteBudget(8 << 20)
    with pytest.raises((InflatedTooLarge, httpx.DecodingError)):
        await inflate(b"gzip", raw, 8 << 20, None, budget.hold("up"))
    assert budget.used == 0


async def test_who_is_cancelled_while_it_inflates_gives_its_room_back() -> None:
    budget = ByteBudget(8 << 20)
    task = asyncio.create_task(
        inflate(b"gzip", gzip.compress(bytes(7 << 20)), 8 << 20, None, budget.hold("up"))
    )
    while not budget.used:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert budget.used == 0


@pytest.mark.parametrize("kind", [Http1Transport, HttpxTransport])
async def test_an_answer_comes_with_the_room_that_it_was_inflated_into(
    kind: type[Http1Transport | HttpxTransport],
) -> None:
    budget = ByteBudget(32 << 20)
    large = bytes(3 << 20)
    async with FaultServer(
        default=in_turn(*(whole(encoded(gzip.compress(body), "gzip")) for body in (b"1", large)))
    ) as server:
        transport = kind(hold=partial(budget.hold, "up"))
        origin = Origin.of(server.url)
        try:
            small = await transport.exchange(origin, "GET", b"/")
            assert budget.used == 0
            answer = await transport.exchange(origin, "GET", b"/")
        finally:
            await transport.aclose()
    assert (small.body, answer.body) == (b"1", large)
    assert budget.used == len(large)
    assert answer.hold is not None
    answer.hold.release()
    assert budget.used == 0
