"""httpcore's connections behind `exchange`."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import httpx
import pytest

from gateway.transport import (
    AnswerTooLarge,
    Bounds,
    HttpxTransport,
    InflatedTooLarge,
    Origin,
)
from gateway.transport import (
    httpx as stock,
)
from gateway.transport.pools import PoolLimits
from tests.fault_server import (
    FaultServer,
    Script,
    answer,
    encoded,
    endless,
    gzip_bomb,
    hang,
    header_flood,
    then_close,
    whole,
)
from tests.ports import refused
from tests.waiting import until

BOUNDS = Bounds(max_body=100_000, max_inflated=300_000, max_headers=50)


async def ask(script: Script, timeout: float | None = 60, **more: Any) -> Any:
    transport = HttpxTransport(bounds=BOUNDS, **more)
    async with FaultServer(default=script) as server:
        origin = Origin.of(server.url, [(b"accept", b"*/*")])
        try:
            return await transport.exchange(
                origin, "POST", b"/a?b=%20", [(b"x-a", b"1")], b"body", timeout=timeout
            ), server.asked
        finally:
            await transport.aclose()


async def test_the_request_and_the_answer() -> None:
    got, (asked,) = await ask(whole(answer(201, b"{}", [("X-B", "2")])))
    assert (got.status, got.body, got.http_version) == (201, b"{}", "HTTP/1.1")
    assert got.headers == [(b"x-b", b"2"), (b"content-length", b"2")]
    assert (asked.method, asked.target, asked.body) == ("POST", "/a?b=%20", b"body")
    assert asked.header(b"x-a") == b"1"
    assert asked.header(b"accept") == b"*/*"


async def test_content_is_inflated_and_its_fields_go() -> None:
    got, _ = await ask(whole(encoded(gzip.compress(b"content", mtime=0), "gzip")), timeout=None)
    assert got.body == b"content"
    assert [name for name, _ in got.headers] == [b"content-type"]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (then_close(), httpx.RemoteProtocolError),
        (hang(), httpx.ReadTimeout),
        (hang(answer(body=b"abc", length=9)), httpx.ReadTimeout),
        (whole(header_flood(51)), AnswerTooLarge),
        (endless(b"HTTP/1.1 200 OK\r\n\r\n"), AnswerTooLarge),
        (whole(encoded(gzip_bomb(1 << 20), "gzip")), InflatedTooLarge),
        (whole(encoded(b"", "gzip, gzip")), httpx.DecodingError),
    ],
)
async def test_the_same_errors(script: Script, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        await ask(script, timeout=2 if error is httpx.ReadTimeout else 60)
    assert raised.type is error


async def test_the_timeout_tells_where_time_ran_out() -> None:
    transport = HttpxTransport(PoolLimits(max_connections=1))
    async with FaultServer(default=hang()) as server:
        origin = Origin.of(server.url)
        busy = asyncio.ensure_future(transport.exchange(origin, "GET", b"/"))
        await until(lambda: server.asked)
        with pytest.raises(httpx.PoolTimeout):
            await transport.exchange(origin, "GET", b"/", timeout=0.05)
        busy.cancel()
        await asyncio.wait([busy])
        with pytest.raises(httpx.ReadTimeout):
            await transport.exchange(origin, "GET", b"/", timeout=2)
    with refused() as port, pytest.raises(httpx.ConnectError):
        await transport.exchange(Origin("http", "127.0.0.1", port), "GET", b"/")
    await transport.aclose()


async def test_every_stage_has_its_timeout() -> None:
    progress = stock._Progress()
    assert type(progress.timed_out()) is httpx.PoolTimeout
    for event, error in (
        ("connection.connect_tcp.started", httpx.ConnectTimeout),
        ("connection.start_tls.started", httpx.ConnectTimeout),
        ("http11.send_request_headers.started", httpx.WriteTimeout),
        ("http11.send_request_headers.complete", httpx.WriteTimeout),
        ("http11.receive_response_headers.started", httpx.ReadTimeout),
    ):
        await progress(event, {})
        assert type(progress.timed_out()) is error


async def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with refused() as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        got, _ = await ask(whole(answer()))
    assert got.status == 200
