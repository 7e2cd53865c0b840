from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from gateway.aio.timers import Wheel
from gateway.web.disconnect import DisconnectWatch
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Message = dict[str, Any]


class Client:
    """What the server tells of a client: messages, each at its second; afterwards nothing."""

    def __init__(self, *messages: tuple[float, str]) -> None:
        self._messages = list(messages)
        self._began = loop_time()
        self.listened = 0

    async def receive(self) -> Message:
        self.listened += 1
        if not self._messages:
            await asyncio.Event().wait()
        at, kind = self._messages.pop(0)
        await asyncio.sleep(max(0.0, self._began + at - loop_time()))
        return {"type": kind}


async def watched(client: Client, work: Callable[[], Awaitable[None]]) -> tuple[bool, bool, float]:
    """Return whether the client was found gone, whether the work was cancelled, and when."""
    began = loop_time()
    gone = cancelled = False

    async def request() -> None:
        nonlocal gone, cancelled
        watch = DisconnectWatch(Wheel(), client.receive)
        try:
            await work()
        except asyncio.CancelledError:
            cancelled = True
        finally:
            gone = watch.gone
            watch.stop()

    await asyncio.create_task(request())
    return gone, cancelled, round(loop_time() - began, 2)


async def slow() -> None:
    await asyncio.sleep(10)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([(1.0, "http.disconnect")], (True, True, 1.0)),
        # What is left of a body is no reason to go.
        ([(0.5, "http.request"), (2.0, "http.disconnect")], (True, True, 2.0)),
        # Gone before anybody listened: noticed as soon as somebody does.
        ([(0.0, "http.disconnect")], (True, True, 0.05)),
        ([], (False, False, 10.0)),
        ([(1.0, "http.request")], (False, False, 10.0)),
    ],
)
def test_work_ends_with_its_client(
    messages: list[tuple[float, str]], expected: tuple[bool, bool, float]
) -> None:
    async def main() -> tuple[bool, bool, float]:
        return await watched(Client(*messages), slow)

    assert run(main()) == expected


def test_a_fast_answer_costs_a_timer_and_no_task() -> None:
    async def main() -> None:
        client = Client((0.0, "http.disconnect"))

        async def fast() -> None:
            await asyncio.sleep(0.04)
            assert len(asyncio.all_tasks()) == 2  # this test and the request

        assert await watched(client, fast) == (False, False, 0.04)
        await asyncio.sleep(1)
        assert client.listened == 0

    run(main())


def test_nothing_listens_once_the_answer_is_there() -> None:
    async def main() -> None:
        client = Client((5.0, "http.disconnect"))

        async def work() -> None:
            await asyncio.sleep(1)

        assert await watched(client, work) == (False, False, 1.0)
        await asyncio.sleep(10)
        assert client.listened == 1
        assert len(asyncio.all_tasks()) == 1

    run(main())


def test_another_cancellation_is_not_taken_for_the_client() -> None:
    async def main() -> None:
        client = Client()
        task = asyncio.create_task(watched(client, slow))
        await asyncio.sleep(1)
        task.cancel()
        assert await task == (False, True, 1.0)

    run(main())


def test_a_watch_that_listened_is_freed_without_the_collector() -> None:
    async def main() -> None:
        await watched(Client(), slow)

    gc.collect()
    gc.disable()
    try:
        run(main())
        assert not [one for one in gc.get_objects() if isinstance(one, DisconnectWatch)]
    finally:
        gc.enable()
