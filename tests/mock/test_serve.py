import asyncio
import logging
import signal

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from gateway.mock import Knobs, MockServer, create_mock_app
from tests.waiting import until


async def test_it_serves_the_contracts_on_a_free_port() -> None:
    async with (
        MockServer(create_mock_app(), port=0) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        answer = await client.get("/posts", params={"userId": 1, "_limit": 5})
        assert answer.status_code == 200
        assert [post["id"] for post in answer.json()] == [1, 2, 3, 4, 5]
        assert answer.headers["x-total-count"] == "10"
        assert "date" in answer.headers


async def test_two_servers_stand_beside_each_other() -> None:
    slow = create_mock_app(Knobs(fail={"users": 1.0}))
    async with (
        MockServer(create_mock_app(), port=0) as one,
        MockServer(slow, port=0) as other,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.get(f"{one.url}/users/1")).status_code == 200
        assert (await client.get(f"{other.url}/users/1")).status_code == 503


async def test_one_slow_upstream_holds_up_no_other() -> None:
    slept, wake = list[float](), asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await wake.wait()

    app = create_mock_app(Knobs.parse(["users=50ms"]), sleep=sleep)
    async with (
        MockServer(app, port=0) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        slow = asyncio.create_task(client.get("/users/1"))
        await until(lambda: slept)
        assert (await client.get("/posts/1")).status_code == 200
        assert not slow.done()
        wake.set()
        assert (await slow).status_code == 200
    assert slept == [0.05]


async def test_no_signal_handler_is_installed() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with MockServer(create_mock_app(), port=0):
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


async def test_the_port_is_free_again_afterwards_and_idle_connections_are_closed() -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        async with MockServer(create_mock_app(), port=0) as server:
            await client.get(f"{server.url}/users/1")
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{server.url}/users/1")
        async with MockServer(create_mock_app(), port=port) as again:
            assert (await client.get(f"{again.url}/users/1")).status_code == 200


async def test_a_taken_port_is_an_oserror() -> None:
    async with MockServer(create_mock_app(), port=0) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            await MockServer(create_mock_app(), port=port).__aenter__()


async def test_it_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    async with (
        MockServer(create_mock_app(), port=0) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        await client.get("/users/1")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_requests_under_way_finish_within_the_grace() -> None:
    arrived, leave = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.set()
        await leave.wait()
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    async with httpx.AsyncClient(trust_env=False) as client:
        async with MockServer(app, port=0, grace=60) as server:
            call = asyncio.create_task(client.get(server.url))
            await arrived.wait()
            asyncio.get_running_loop().call_later(0.02, leave.set)
        assert (await call).status_code == 204


async def test_requests_later_than_the_grace_are_dropped_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    arrived, ended = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with httpx.AsyncClient(trust_env=False) as client:
        async with MockServer(app, port=0, grace=0.01) as server:
            call = asyncio.create_task(client.get(server.url))
            await arrived.wait()
        assert ended.is_set()
        with pytest.raises(httpx.TransportError):
            await call
    assert caplog.records == []


def test_an_ipv6_host_is_bracketed_in_the_url() -> None:
    assert MockServer(create_mock_app(), host="::1", port=1).url == "http://[::1]:1"
