from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pytest

from gateway.aio.byte_budget import Hold
from gateway.errors import ExpressionFailed, UpstreamPayload
from gateway.expressions.json_schema import compile_schema
from gateway.expressions.strict_json import StrictJson
from gateway.offload import MANY, UNDECODED, Offload
from tests.offload.lanes import Lanes

NUMBERS = {"type": "array", "items": {"type": "integer"}}


def numbers(count: int) -> bytes:
    return orjson.dumps(list(range(count)))


async def admit(lanes: Lanes, body: bytes, upstream: str = "up", **options: Any) -> Any:
    schema = options.pop("schema", None)
    reader = StrictJson(8, 1 << 23, compile_schema(schema) if schema is not None else None)
    codec = options.pop("codec", "")
    return await lanes.offload.admit(upstream, reader, body, codec, schema=schema, **options)


async def shape(lanes: Lanes, body: bytes, values: int, upstream: str = "up") -> Any:
    return await lanes.offload.shape(
        upstream, body, values=values, schema=None, base=None, select="length(@)", reads=(), whole=False
    )  # fmt: skip


async def test_a_payload_of_few_values_is_decoded_here_however_long_it_is() -> None:
    lanes = Lanes()
    body = b'["' + b"x" * 2_000_000 + b'"]'
    value, written = await admit(lanes, b" " + body)
    assert (len(value[0]), written) == (2_000_000, body)
    assert lanes.slow.jobs == lanes.quick.jobs == []
    await lanes.offload.aclose()


async def test_a_payload_of_many_values_is_never_decoded_here() -> None:
    lanes = Lanes()
    body = numbers(MANY + 1)
    assert await admit(lanes, b" " + body) == (UNDECODED, body)
    assert lanes.slow.jobs == ["admit"]


async def test_a_schema_is_checked_elsewhere_when_there_are_a_good_many_values() -> None:
    lanes = Lanes()
    body = numbers(MANY // 2)
    value, written = await admit(lanes, body, schema=NUMBERS)
    assert (len(value), written, lanes.slow.jobs) == (MANY // 2, body, ["admit"])
    with pytest.raises(UpstreamPayload, match="does not meet its schema at /0") as caught:
        await admit(lanes, b'["x",' + body[1:], schema=NUMBERS)
    assert caught.value.upstream == "up"
    await lanes.offload.aclose()


async def test_a_large_payload_is_transcoded_elsewhere() -> None:
    lanes = Lanes()
    text = '["' + "\xe9" * 300_000 + '"]'
    assert await admit(lanes, text.encode("latin-1"), codec="latin_1") == (
        orjson.loads(text), text.encode(),
    )  # fmt: skip
    assert lanes.slow.jobs == ["admit"]
    await lanes.offload.aclose()


@pytest.mark.parametrize("count", [10, MANY + 1])
async def test_what_is_not_strict_json_is_refused_wherever_it_is_read(count: int) -> None:
    lanes = Lanes()
    with pytest.raises(UpstreamPayload, match="not strict JSON") as caught:
        await admit(lanes, numbers(count)[:-1])
    assert caught.value.upstream == "up"
    await lanes.offload.aclose()


async def test_a_lost_worker_fails_the_answer_and_nothing_else() -> None:
    lanes = Lanes(lost=True)
    with pytest.raises(UpstreamPayload, match="its worker process failed: a worker process ended"):
        await admit(lanes, numbers(MANY + 1))
    assert lanes.offload.budget.used == 0


async def test_what_takes_milliseconds_waits_for_nothing_that_takes_seconds() -> None:
    lanes = Lanes()
    await shape(lanes, numbers(40_000), 40_000)
    await shape(lanes, numbers(60_000), 60_000)
    assert (lanes.quick.jobs, lanes.slow.jobs) == (["shape"], ["shape"])


async def test_large_answers_share_a_budget_of_bytes_and_upstreams_take_turns() -> None:
    body = numbers(MANY + 1)
    lanes = Lanes(memory=2 * len(body))
    ended: list[str] = []

    async def one(upstream: str) -> None:
        await admit(lanes, body, upstream)
        ended.append(upstream)

    await asyncio.gather(*(one("greedy") for _ in range(8)), one("other"))
    assert lanes.slow.most == 2
    assert ended.index("other") < 5
    assert (lanes.offload.budget.used, lanes.offload.budget.waiting) == (0, 0)


async def test_what_waits_to_be_shaped_goes_before_what_waits_to_be_decoded() -> None:
    body = numbers(MANY + 1)
    lanes = Lanes(memory=len(body))
    await asyncio.gather(
        *(admit(lanes, body) for _ in range(3)), shape(lanes, body, MANY + 1)
    )  # fmt: skip
    assert lanes.slow.jobs == ["admit", "shape", "admit", "admit"]


async def test_who_is_cancelled_while_it_waits_or_is_decoded_gives_everything_back() -> None:
    body = numbers(MANY + 1)
    lanes = Lanes(takes=600, memory=len(body))
    tasks = [asyncio.create_task(admit(lanes, body)) for _ in range(3)]
    while not lanes.slow.running:
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert (lanes.slow.jobs, lanes.slow.abandoned) == (["admit"], 1)
    assert (lanes.offload.budget.used, lanes.offload.budget.waiting) == (0, 0)


async def test_what_was_inflated_has_its_bytes_already() -> None:
    """Waiting for more while it holds some could wait for ever."""
    body = numbers(MANY + 1)
    lanes = Lanes(memory=len(body))
    hold: Hold = lanes.offload.budget.hold("up")
    with await hold.fill(len(body)):
        await asyncio.wait_for(admit(lanes, body, hold=hold), 30)
    assert lanes.offload.budget.used == 0


async def test_a_condition_is_judged_elsewhere() -> None:
    lanes = Lanes()
    assert await lanes.offload.is_true("length(a) > `3`", b'{"a":[1,2,3,4]}')
    assert not await lanes.offload.is_true("length(a) > `3`", b'{"a":[]}')
    with pytest.raises(ExpressionFailed, match=r"^`when` failed: length\(\) takes"):
        await lanes.offload.is_true("length(a)", b'{"a":1}')


async def test_elements_come_some_at_a_time_and_others_run_in_between() -> None:
    lanes = Lanes()
    elements = [{"id": number, "text": "x" * 90} for number in range(3000)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    pieces = [piece async for piece in lanes.offload.elements("up", orjson.dumps(elements))]
    running.cancel()
    assert [element for piece in pieces for element in piece] == elements
    assert turns >= len(pieces) > 3


async def test_an_element_of_many_values_is_not_decoded_here() -> None:
    lanes = Lanes()
    with pytest.raises(UpstreamPayload, match="an element of the answer has more than"):
        _ = [piece async for piece in lanes.offload.elements("up", b"[" + numbers(MANY + 1) + b"]")]


async def test_closing_ends_the_processes_of_both_lanes() -> None:
    offload = Offload()
    await shape(Lanes(), b"[]", 0)  # nothing is started by those
    for values in (0, MANY):
        made = await offload.shape(
            "up", b"[1]", values=values, schema=None, base=None, select="[0]", reads=(), whole=False
        )
        assert made.data == b"1"
    (quick,), (slow,) = offload.quick._running, offload.slow._running
    await offload.aclose()
    assert not quick.alive
    assert not slow.alive


async def test_closing_cancels_no_decoding_in_the_thread() -> None:
    lanes, release = Lanes(), threading.Event()

    def read(body: bytes) -> bytes:
        assert release.wait(30)
        return body

    jobs = [asyncio.create_task(lanes.offload._in_thread("up", read, b"%d" % n)) for n in range(3)]
    for _ in range(10):
        await asyncio.sleep(0)
    await lanes.offload.aclose()
    release.set()
    assert await asyncio.gather(*jobs) == [b"0", b"1", b"2"]
