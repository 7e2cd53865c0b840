from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import respx

from gateway.app import swap
from gateway.plan.load import loads
from tests.serving import application, asked

if TYPE_CHECKING:
    from gateway.runtime import Runtime

ONE = """
upstreams: {a: {base_url: "http://a.test", cache: {ttl: 1h}}}
dashboards:
  d: {path: /d, sections: {x: {get: "a:/one"}}}
  gone: {path: /gone, sections: {x: {get: "a:/one"}}}
"""
TWO = """
upstreams: {a: {base_url: "http://a.test"}, b: {base_url: "http://b.test"}}
dashboards:
  d: {path: /d, sections: {y: {get: "b:/two"}}}
  new: {path: /new, sections: {y: {get: "b:/two"}}}
"""


@respx.mock
async def test_a_swapped_runtime_serves_from_the_next_request_on() -> None:
    respx.get("http://a.test/one").respond(json=1)
    respx.get("http://b.test/two").respond(json=2)
    app = application(ONE)
    async with asked(app) as client:
        assert (await client.get("/d")).json()["data"] == {"x": 1}
        assert (await client.get("/gone")).status_code == 200
        assert set((await client.get("/openapi.json")).json()["paths"]) >= {"/d", "/gone"}
        before = await swap(app, app.served.successor(loads(TWO)))
        # The whole answer that was cached before the swap is not served after it.
        assert (await client.get("/d")).json()["data"] == {"y": 2}
        assert (await client.get("/gone")).status_code == 404
        assert (await client.get("/new")).json()["data"] == {"y": 2}
        assert (await client.get("/healthz")).status_code == 200
        paths = set((await client.get("/openapi.json")).json()["paths"])
        assert paths >= {"/d", "/new"}
        assert "/gone" not in paths
        assert before.loaded.plans[0].sections[0].name == "x"
        await before.aclose()
        assert (await client.get("/d")).status_code == 200
    await app.served.aclose()


@respx.mock
async def test_a_request_in_flight_ends_with_the_runtime_that_it_began_with() -> None:
    asked_one, answer_one = asyncio.Event(), asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        asked_one.set()
        await answer_one.wait()
        return httpx.Response(200, json=1)

    respx.get("http://a.test/one").mock(side_effect=slow)
    respx.get("http://b.test/two").respond(json=2)
    app = application(ONE)
    async with asked(app) as client:
        in_flight = asyncio.create_task(client.get("/d"))
        await asked_one.wait()
        before: Runtime = await swap(app, app.served.successor(loads(TWO)))
        was_busy = before.busy
        assert (await client.get("/d")).json()["data"] == {"y": 2}
        answer_one.set()
        assert (await in_flight).json()["data"] == {"x": 1}
        assert (was_busy, before.busy) == (True, False)
        await before.aclose()
        # What the old runtime answered last is in its own response cache, not in the new one.
        assert (await client.get("/d")).json()["data"] == {"y": 2}
    await app.served.aclose()
