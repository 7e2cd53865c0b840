from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from gateway.offload import Processes, WorkerLostError, processes

SPLIT = {"job": "split"}
# Takes its orders and never answers.
HANGS = (
    sys.executable,
    "-c",
    "import sys; sys.stdin.buffer.read(1); print(end='', flush=True); sys.stdin.buffer.read()",
)
BREAKS = (sys.executable, "-c", "import sys; sys.stdin.buffer.read(1)")


@asynccontextmanager
async def pool(count: int = 1, **options: tuple[str, ...]) -> AsyncIterator[Processes]:
    made = Processes(count, **options)
    try:
        yield made
    finally:
        await made.aclose()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def gone(task: Awaitable[object]) -> None:
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_process_is_started_before_the_first_job_and_one_does_them_all() -> None:
    async with pool() as made:
        assert made.started == 0
        for number in range(3):
            reply = await made.do(SPLIT, b"[%d]" % number)
            assert [orjson.loads(part) for part in reply.parts] == [[number]]
        assert (made.started, made.done, made.abandoned) == (1, 3, 0)


async def test_megabytes_go_there_and_back() -> None:
    body = b'["' + b"x" * 3_000_000 + b'"]'
    async with pool() as made:
        reply = await made.do(SPLIT, body)
        assert b"".join(reply.parts) == body + b"[]"


async def test_an_abandoned_job_is_killed_and_the_next_one_gets_a_new_process() -> None:
    async with pool(command=HANGS) as made:
        job = asyncio.create_task(made.do(SPLIT, b"[]"))
        await until(lambda: made._running)
        (process,) = made._running
        job.cancel()
        await gone(job)
        assert made.abandoned == 1
        await until(lambda: not process.alive)
        made._command = processes._COMMAND
        assert (await made.do(SPLIT, b"[]")).parts == [b"[]"]
        assert (made.started, made.abandoned) == (2, 1)


async def test_a_job_whose_caller_is_gone_before_its_turn_is_never_begun() -> None:
    async with pool(command=HANGS) as made:
        first = asyncio.create_task(made.do(SPLIT, b"[]"))
        await until(lambda: made._running)
        second = asyncio.create_task(made.do(SPLIT, b"[]"))
        await asyncio.sleep(0)
        second.cancel()
        await gone(second)
        first.cancel()
        await gone(first)
        assert (made.started, made.abandoned) == (1, 1)


async def test_there_are_never_more_processes_than_allowed() -> None:
    async with pool(2, command=HANGS) as made:
        jobs = [asyncio.create_task(made.do(SPLIT, b"[]")) for _ in range(5)]
        await until(lambda: made.started == 2)
        await asyncio.sleep(0)
        assert len(made._running) == 2
        for job in jobs:
            job.cancel()
            await gone(job)
        assert made.started == 2


async def test_closing_ends_what_runs() -> None:
    made = Processes(1, command=HANGS)
    job = asyncio.create_task(made.do(SPLIT, b"[]"))
    await until(lambda: made._running)
    (process,) = made._running
    await made.aclose()
    assert not process.alive
    with pytest.raises(WorkerLostError):
        await job


async def test_closing_fails_the_jobs_in_the_queue_and_cancels_no_caller() -> None:
    made = Processes(1, command=HANGS)
    jobs = [asyncio.create_task(made.do(SPLIT, b"[]")) for _ in range(3)]
    await until(lambda: made._running)
    await made.aclose()
    ends = await asyncio.gather(*jobs, return_exceptions=True)
    assert [type(end) for end in ends] == [WorkerLostError] * 3
    assert made.started == 1


async def test_a_process_that_starts_while_the_pool_closes_does_not_outlive_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starting, closing = threading.Event(), threading.Event()
    began: list[processes._Process] = []

    def late(command: tuple[str, ...]) -> processes._Process:
        starting.set()
        assert closing.wait(30)
        began.append(process := real(command))
        return process

    real = processes._Process
    monkeypatch.setattr(processes, "_Process", late)
    made = Processes(1, command=HANGS)
    job = asyncio.create_task(made.do(SPLIT, b"[]"))
    await until(starting.is_set)
    end = asyncio.create_task(made.aclose())
    await until(lambda: made._closed)
    closing.set()
    async with asyncio.timeout(30):
        await end
    with pytest.raises(WorkerLostError, match="closed"):
        await job
    (process,) = began
    assert not process.alive
    assert not made._running


@pytest.mark.parametrize("used", [False, True])
async def test_a_job_after_the_end_fails_and_starts_nothing(used: bool) -> None:
    made = Processes(1)
    if used:
        await made.do(SPLIT, b"[]")
    await made.aclose()
    await made.aclose()
    with pytest.raises(WorkerLostError, match="closed"):
        await made.do(SPLIT, b"[]")
    assert made.started == used


async def test_a_process_that_ends_in_the_middle_of_a_job_is_told_and_replaced() -> None:
    async with pool(command=BREAKS) as made:
        with pytest.raises(WorkerLostError, match="ended in the middle"):
            await made.do(SPLIT, b"[]")
        made._command = processes._COMMAND
        assert (await made.do(SPLIT, b"[]")).parts == [b"[]"]


async def test_a_process_that_died_while_it_was_idle_is_replaced() -> None:
    async with pool() as made:
        await made.do(SPLIT, b"[]")
        (process,) = made._running
        process.kill()
        await until(lambda: not process.alive)
        assert (await made.do(SPLIT, b"[]")).parts == [b"[]"]
        assert made.started == 2


async def test_a_process_that_cannot_be_started_is_told() -> None:
    async with pool(command=("/nowhere/python",)) as made:
        with pytest.raises(WorkerLostError, match="could not|no worker process"):
            await made.do(SPLIT, b"[]")


async def test_a_process_that_keeps_much_memory_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "_MOST_MEMORY", 0)
    async with pool() as made:
        for _ in range(2):
            await made.do(SPLIT, b"[]")
        assert made.started == 2


async def test_a_bug_in_a_job_is_raised_here_with_its_traceback() -> None:
    async with pool() as made:
        with pytest.raises(RuntimeError, match="KeyError: 'nope'"):
            await made.do({"job": "nope"}, b"")
        assert (await made.do(SPLIT, b"[]")).parts == [b"[]"]
        assert made.started == 1
