"""The shipped configuration against the mock upstreams."""

from __future__ import annotations

import asyncio
import re

from gateway.app import create_app
from gateway.commands.demo import pointed_at
from gateway.config.settings import Settings
from gateway.mock import Knobs, MockServer, create_mock_app
from gateway.plan.load import loads, shipped
from tests.serving import asked


async def test_a_section_waits_for_what_it_refers_to_and_for_nothing_else() -> None:
    latencies = {0.001: "users", 0.002: "posts", 0.003: "weather"}
    begun = {name: asyncio.Event() for name in latencies.values()}
    answered = {name: asyncio.Event() for name in latencies.values()}

    async def sleep(seconds: float) -> None:
        begun[latencies[seconds]].set()
        await answered[latencies[seconds]].wait()

    knobs = Knobs.parse(["users=1ms", "posts=2ms", "weather=3ms"])
    async with MockServer(create_mock_app(knobs, sleep=sleep), port=0) as upstreams:
        # A minute for everything, so that a busy machine is no reason to give up.
        text = re.sub(r"\b(timeout|deadline): \ds", r"\1: 60s", shipped().read_text())
        app = create_app(pointed_at(loads(text), upstreams.url), Settings(redis_url=None))
        async with asked(app) as client:
            asking = asyncio.create_task(client.get("/dashboard/1"))
            await begun["users"].wait()
            await begun["posts"].wait()
            assert not begun["weather"].is_set()
            answered["users"].set()
            await begun["weather"].wait()  # the posts are still under way
            answered["posts"].set()
            answered["weather"].set()
            document = (await asking).json()
    assert document["meta"]["complete"] is True
