"""Plain respx intercepts every upstream call, however and whenever a test starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx
from respx.mocks import HTTPCoreMocker, Mocker

from gateway.testing.respx import follow_respx
from gateway.transport import pool_is_patched
from gateway.upstreams.http.call import HttpCall
from tests.fault_server import FaultServer, answer, whole
from tests.serving import BASE, application

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.runtime import Runtime
    from gateway.web.application import Application

URL = "https://api.test/users/1"
CONFIG = """
upstreams:
  api: {base_url: "https://api.test", %s}
dashboards:
  d: {path: /d, sections: {user: {get: "api:/users/1"}}}
"""


def app(options: str = "transport: native") -> Application[Runtime]:
    return application(CONFIG % options)


# Made before any test starts respx.
EARLIER = app()


async def document(app: Any = EARLIER) -> Any:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        return (await client.get("/d")).json()


async def user(app: Any = EARLIER) -> Any:
    return (await document(app))["data"]["user"]


# How it is started


@respx.mock
async def test_as_a_decorator() -> None:
    respx.get(URL).respond(json=1)
    assert await user() == 1


@respx.mock(assert_all_called=False)
async def test_as_a_decorator_with_options(respx_mock: respx.MockRouter) -> None:
    respx_mock.get(URL).respond(json=2)
    assert await user() == 2


async def test_as_a_context_manager() -> None:
    with respx.mock:
        respx.get(URL).respond(json=3)
        assert await user() == 3


async def test_as_a_context_manager_with_options() -> None:
    with respx.mock(base_url="https://api.test", using="httpcore") as router:
        router.get("/users/1").respond(json=4)
        assert await user() == 4


async def test_as_an_async_context_manager() -> None:
    async with respx.mock() as router:
        router.get(URL).respond(json=5)
        assert await user() == 5


async def test_as_a_router_of_ones_own() -> None:
    router = respx.MockRouter(assert_all_called=False)
    router.get(URL).respond(json=6)
    with router:
        assert await user() == 6


async def test_by_start_and_stop() -> None:
    respx.start()
    try:
        respx.get(URL).respond(json=7)
        assert await user() == 7
    finally:
        respx.stop()


async def test_as_a_fixture(respx_mock: respx.MockRouter) -> None:
    respx_mock.get(URL).respond(json=8)
    assert await user() == 8


@pytest.fixture
def started() -> Iterator[None]:
    with respx.mock:
        respx.get(URL).respond(json=9)
        yield


async def test_by_a_fixture_of_ones_own(started: None) -> None:
    assert await user() == 9


async def test_by_a_mocker_with_more_targets() -> None:
    with respx.mock:
        respx.get(URL).respond(json=10)
        HTTPCoreMocker.add_targets("httpcore._async.connection_pool.PoolByteStream")
        assert await user() == 10
        HTTPCoreMocker.remove_targets("httpcore._async.connection_pool.PoolByteStream")
        assert await user() == 10


# When it is started


@pytest.mark.parametrize(
    "options",
    [
        "transport: native",
        "transport: httpx",
        'transport: httpx, proxy: "http://127.0.0.1:1"',
        'transport: httpx, proxy: "socks5://127.0.0.1:1"',
    ],
)
async def test_before_and_after_the_application_is_made_over_every_transport(options: str) -> None:
    before = app(options)
    with respx.mock:
        route = respx.get(URL).respond(json={"x": 1})
        after = app(options)
        assert await user(before) == await user(after) == {"x": 1}
        assert route.call_count == 2
        assert route.calls.last.request.headers["user-agent"] == "aggregation-gateway"


async def test_the_network_is_asked_again_once_it_has_stopped() -> None:
    async with FaultServer(default=whole(answer(body=b'"wire"'))) as server:
        gateway = application(CONFIG.replace("https://api.test", server.url) % "retry: {}")
        for _ in range(2):
            assert await user(gateway) == "wire"
            with respx.mock:
                respx.get(server.url + "/users/1").respond(json="mock")
                assert await user(gateway) == "mock"
        assert await user(gateway) == "wire"
        with respx.mock:
            made_meanwhile = application(CONFIG.replace("https://api.test", server.url) % "")
        assert await user(made_meanwhile) == "wire"
        assert len(server.asked) == 4


async def test_the_end_of_an_inner_mock_does_not_end_the_outer_one() -> None:
    with respx.mock:
        respx.get(URL).respond(json="outer")
        with respx.mock(assert_all_called=False):
            pass
        assert await user() == "outer"
    assert "exchange" not in vars(HttpCall)


async def test_a_route_that_passes_through_reaches_the_upstream() -> None:
    async with FaultServer(default=whole(answer(body=b'"wire"'))) as server:
        gateway = application(CONFIG.replace("https://api.test", server.url) % "retry: {}")
        with respx.mock:
            respx.get(server.url + "/users/1").pass_through()
            assert await user(gateway) == "wire"


async def test_a_connection_that_is_mocked_to_fail_is_an_upstream_error() -> None:
    with respx.mock:
        respx.get(URL).mock(side_effect=httpx.ConnectError)
        assert (await document())["errors"][0]["code"] == "upstream_unreachable"


# How it is followed


def test_it_is_followed_once() -> None:
    follow_respx()
    start = vars(Mocker)["start"]
    follow_respx()
    assert vars(Mocker)["start"] is start


def test_calls_are_directed_only_while_it_is_started() -> None:
    assert not pool_is_patched()
    assert "exchange" not in vars(HttpCall)
    with respx.mock:
        assert pool_is_patched()
        assert "exchange" in vars(HttpCall)
    assert "exchange" not in vars(HttpCall)


SCRIPT = f"""
import asyncio, sys
import httpx
from gateway.app import create_app
from gateway.plan.load import loads

app = create_app(loads('''{CONFIG % "transport: native"}'''))
assert not [name for name in sys.modules if name.startswith("respx")]

async def get():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.get("/d")).json()["data"]

%s
assert not [one for one in sys.meta_path if "gateway" in type(one).__module__]
"""
LATE = f"""
import respx
with respx.mock:
    respx.get("{URL}").respond(json=1)
    assert asyncio.run(get()) == {{"user": 1}}
import respx.mocks
assert type(respx.mocks.__loader__).__module__ != "gateway.testing.respx"
assert respx.mocks.__spec__.loader is respx.mocks.__loader__
"""
PARTS = LATE.replace("import respx\n", "from respx.mocks import HTTPCoreMocker\nimport respx\n", 1)


@pytest.mark.parametrize("then", [LATE, PARTS])
def test_production_does_not_import_it_and_follows_it_once_it_is_imported(then: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT % then],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
