from __future__ import annotations

import asyncio
from typing import Any

from gateway.cache.store.redis.write_behind import WriteBehind
from tests.layers.test_cache import on_virtual_time


class FakeLink:
    """A server that takes a second for every pipeline."""

    def __init__(self) -> None:
        self.writable = True
        self.pipelines: list[list[str]] = []

    async def ask(self, work: Any, patience: float) -> list[Any]:
        await asyncio.sleep(1)
        answers: list[Any] = await work(self)
        return answers

    def collected(self) -> FakeLink:
        self.pipelines.append([])
        return self

    async def execute(self) -> list[Any]:
        return []


def writes() -> tuple[WriteBehind, FakeLink]:
    link: Any = FakeLink()
    return WriteBehind(link), link


async def write(link: Any) -> None:
    link.pipelines[-1].append("write")


@on_virtual_time
async def test_what_gathers_goes_out_in_one_pipeline() -> None:
    own, link = writes()
    for _ in range(3):
        assert own.submit(write)
        await asyncio.sleep(0.1)
    await own.drain()
    assert [len(pipeline) for pipeline in link.pipelines] == [1, 2]


@on_virtual_time
async def test_more_bytes_than_may_wait_are_dropped() -> None:
    own, link = writes()
    mebibyte = 1024 * 1024
    assert [own.submit(write, mebibyte) for _ in range(34)] == [True] * 32 + [False] * 2
    assert own.submit(write)
    await own.drain()
    assert sum(map(len, link.pipelines)) == 33
    assert own.submit(write, 32 * mebibyte)
    await own.aclose()


@on_virtual_time
async def test_without_a_server_nothing_waits() -> None:
    own, link = writes()
    link.writable = False
    assert not own.submit(write)
    await own.drain()
    assert link.pipelines == []
