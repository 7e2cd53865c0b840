"""Whatever wraps a mocked call, what the mock objects to reaches the test that made the request."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx
from fastapi import FastAPI
from respx.models import AllMockedAssertionError
from starlette.middleware.base import BaseHTTPMiddleware

import gateway.runtime
from gateway.transport import Http1Transport, Objections
from gateway.upstreams.stack import Shared
from tests.serving import BASE, application

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.runtime import Runtime
    from gateway.web.application import Application

GOOD = "http://good.test"
UPSTREAMS = """
upstreams:
  good: {base_url: http://good.test}
  bad: {base_url: http://bad.test}
  kept: {base_url: http://kept.test, cache: {ttl: 60s, stale_while_revalidate: 60s, jitter: 0}}
  flaky: {base_url: http://flaky.test, retry: {base: 1ms}, cache: {ttl: 60s}}
  slow: {base_url: http://slow.test, hedge: {after: 1ms, ratio: 1}}
  guarded: {base_url: http://guarded.test, retry: {}, breaker: {}, hedge: {}, concurrency: adaptive}
dashboards:
  d:
    path: /d
    parameters: {q: {type: array, items: {type: integer}, default: [1, 2, 2]}}
    sections:
"""


def app(*sections: str, more: str = "") -> Application[Runtime]:
    lines = "".join(f"      {section}\n" for section in sections)
    return application(UPSTREAMS + lines + more)


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)


async def get(app: Any, path: str = "/d") -> httpx.Response:
    async with client(app) as asking:
        return await asking.get(path)


@pytest.fixture
def router() -> Iterator[respx.MockRouter]:
    with respx.mock(assert_all_called=False) as mocked:
        mocked.get(f"{GOOD}/one").respond(json=1)
        mocked.get(url__startswith=GOOD).respond(json=[1, 2, 3])
        yield mocked


@pytest.mark.parametrize(
    "sections",
    [
        ['x: {get: "bad:/x"}'],
        ['x: {get: "bad:/x", required: true}'],
        ['x: {get: "bad:/x", fallback: 1}'],
        ['x: {get: "guarded:/x"}'],
        ['x: {get: "kept:/x"}'],
        ['x: {get: "good:/x"}', 'y: {get: "bad:/y?x={x}", hidden: true}'],
        ['x: {for_each: "{q}", get: "bad:/{item}"}'],
        ['x: {for_each: "{q}", get: "kept:/{item}"}'],
        ['x: {for_each: {in: "{q}", batch: 2}, get: "bad:/?id={item}"}'],
        [
            'x: {for_each: "{q}", get: "good:/one?n={item}"}',
            'y: {for_each: "{x}", get: "bad:/{item}"}',
        ],
        ['x: {race: ["bad:/x", "good:/x"]}'],
        ['x: {race: ["good:/x", "bad:/x"]}'],
        ['x: {race: ["good:/x", "kept:/x"]}'],
        ['x: {race: ["kept:/x", "good:/x"]}'],
        ['x: {get: "bad:/x"}', 'y: {get: "kept:/y"}', 'z: {get: "good:/z"}'],
    ],
)
async def test_an_unmocked_call_reaches_the_test(
    sections: list[str], router: respx.MockRouter
) -> None:
    gateway = app(*sections)
    for _ in range(2):
        with pytest.raises(AllMockedAssertionError, match="not mocked"):
            await get(gateway)


async def test_of_a_flight_that_outlives_a_lost_race_it_reaches_the_test(
    router: respx.MockRouter,
) -> None:
    async def upstream(request: httpx.Request) -> httpx.Response:
        for _ in range(30):
            await asyncio.sleep(0)
        raise AssertionError("lost")

    router.get("http://kept.test/x").mock(side_effect=upstream)
    with pytest.raises(AssertionError, match="lost"):
        await get(app('x: {race: ["good:/x", "kept:/x"]}'))


async def test_one_that_fails_after_a_required_section_has_failed_reaches_it_too(
    router: respx.MockRouter,
) -> None:
    router.get("http://bad.test/x").respond(404)
    with pytest.raises(AllMockedAssertionError):
        await get(app('x: {get: "bad:/x", required: true}', 'y: {get: "kept:/y"}'))


async def test_an_assertion_in_a_retried_attempt_reaches_it(router: respx.MockRouter) -> None:
    def upstream(request: httpx.Request, route: respx.Route) -> httpx.Response:
        assert route.call_count == 0, "asked twice"
        return httpx.Response(503)

    router.get("http://flaky.test/x").mock(side_effect=upstream)
    with pytest.raises(AssertionError, match="asked twice"):
        await get(app('x: {get: "flaky:/x"}'))


async def test_an_assertion_in_a_hedge_reaches_it(router: respx.MockRouter) -> None:
    hedged = asyncio.Event()
    calls = 0

    async def upstream(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        if calls > 1:
            hedged.set()
            raise AssertionError("hedged")
        await hedged.wait()
        await asyncio.sleep(0)
        return httpx.Response(200, json=1)

    router.get("http://slow.test/x").mock(side_effect=upstream)
    with pytest.raises(AssertionError, match="hedged"):
        await get(app('x: {get: "slow:/x"}'))


async def test_of_a_shared_flight_it_reaches_every_request(router: respx.MockRouter) -> None:
    release = asyncio.Event()

    async def upstream(request: httpx.Request) -> httpx.Response:
        await release.wait()
        raise AssertionError("shared")

    route = router.get("http://kept.test/x").mock(side_effect=upstream)
    async with client(app('x: {get: "kept:/x"}')) as asking:
        requests = [asyncio.create_task(asking.get("/d")) for _ in range(3)]
        while not route.call_count and not all(request.done() for request in requests):
            await asyncio.sleep(0)
            release.set()
        found = await asyncio.gather(*requests, return_exceptions=True)
    assert route.call_count == 1
    assert [str(each) for each in found] == ["shared"] * 3


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1e9]
    shared = partial(Shared, now=lambda: now[0], random=lambda: 0.5)
    monkeypatch.setattr(gateway.runtime, "Shared", shared)
    return now


async def test_of_a_refresh_in_the_background_it_reaches_the_request_that_began_it(
    router: respx.MockRouter, clock: list[float]
) -> None:
    router.get("http://kept.test/x").respond(json=1)
    gateway = app('x: {get: "kept:/x"}')
    assert (await get(gateway)).json()["data"] == {"x": 1}
    clock[0] += 90
    router.routes.clear()
    with pytest.raises(AllMockedAssertionError):
        await get(gateway)


async def test_of_a_refresh_that_takes_long_it_reaches_the_next_request(
    router: respx.MockRouter, clock: list[float]
) -> None:
    mocked = router.get("http://kept.test/x").respond(json=1)
    gateway = app('x: {get: "kept:/x"}', more='  e: {path: /e, sections: {y: {get: "good:/y"}}}\n')
    await get(gateway)
    clock[0] += 90
    release = asyncio.Event()

    async def upstream(request: httpx.Request) -> httpx.Response:
        await release.wait()
        raise AssertionError("late")

    mocked.mock(side_effect=upstream)
    stale = await get(gateway)
    assert stale.json()["meta"]["sections"]["x"]["state"] == "stale"
    release.set()
    with pytest.raises(AssertionError, match="late"):
        await get(gateway, "/e")
    assert (await get(gateway, "/e")).status_code == 200


async def test_of_what_nobody_asks_for_again_it_is_raised_when_the_application_ends(
    router: respx.MockRouter,
) -> None:
    warmed = UPSTREAMS.replace("path: /d", "path: /d\n    prefetch: 1h")
    gateway = application(warmed + '      x: {get: "bad:/x"}\n')

    async def live() -> None:
        async with gateway.router.lifespan_context(gateway):
            for _ in range(50):
                await asyncio.sleep(0)

    with pytest.raises(AllMockedAssertionError):
        await live()


async def test_through_middleware_and_mounted_it_reaches_the_test(
    router: respx.MockRouter,
) -> None:
    async def passing(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    wrapped = app('x: {get: "bad:/x"}')
    wrapped.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    outer = FastAPI()
    outer.mount("/gateway", app('x: {get: "bad:/x"}'))
    for asked, path in ((wrapped, "/d"), (outer, "/gateway/d")):
        with pytest.raises(AllMockedAssertionError):
            await get(asked, path)


async def test_the_answer_is_a_problem_all_the_same(router: respx.MockRouter) -> None:
    transport = httpx.ASGITransport(app('x: {get: "bad:/x"}'), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as asking:
        answer = await asking.get("/d")
    assert (answer.status_code, answer.json()["status"]) == (500, 500)


async def test_any_other_bug_is_a_problem_and_not_raised(router: respx.MockRouter) -> None:
    router.get("http://bad.test/x").mock(side_effect=ZeroDivisionError)
    assert (await get(app('x: {get: "bad:/x"}'))).status_code == 500


async def test_without_a_mock_an_assertion_is_a_problem_and_not_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def bug(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(Http1Transport, "exchange", bug)
    assert (await get(app('x: {get: "bad:/x"}'))).status_code == 500


async def test_what_runs_in_the_background_is_given_turns_and_no_time() -> None:
    objections = Objections()
    turns = 0

    def busy() -> bool:
        nonlocal turns
        turns += 1
        if turns == 5:
            objections.add(AssertionError("fifth"))
        return True

    with pytest.raises(AssertionError, match="fifth"):
        await objections.settle(busy)
    await objections.settle(busy)
    assert 50 < turns < 500
