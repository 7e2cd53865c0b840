from __future__ import annotations

import asyncio
import itertools
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx
from prometheus_client.parser import text_string_to_metric_families

from tests.redis_server import running
from tests.serving import admin, application, asked, served
from tests.waiting import until_found

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
upstreams: {a: {base_url: http://a.test, cache: {ttl: 1h}}}
dashboards:
  d: {path: "/d", sections: {x: {get: "a:/x"}}}
  e: {path: "/e/{id}", parameters: {id: {type: string}}, sections: {x: {get: "a:/x/{id}"}}}
"""


async def read(app: Any) -> dict[str, float]:
    async with asked(admin(app)) as operator:
        answer = await operator.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


@respx.mock
async def test_what_is_kept_is_told() -> None:
    respx.get("http://a.test/x").respond(json={"n": 1})
    app = application(TEXT)
    async with asked(app) as client:
        before = await read(app)
        assert (before["gateway_cache_entries"], before["gateway_cache_bytes"]) == (0, 0)
        assert before["gateway_kept_answers_bytes"] == 0
        assert "gateway_store_up" not in before  # there is none to be up
        await client.get("/d")
        after = await read(app)
    assert after["gateway_cache_entries"] == 1
    assert after["gateway_cache_bytes"] > 100
    assert after["gateway_kept_answers_bytes"] > 100


@respx.mock
async def test_what_is_under_way_and_what_is_refused_is_told() -> None:
    asked_for, go = asyncio.Event(), asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        asked_for.set()
        await go.wait()
        return httpx.Response(200, json=1)

    respx.get("http://a.test/x").mock(side_effect=answer)
    app = application(TEXT, max_in_flight=1)
    async with asked(app) as client:
        first = asyncio.create_task(client.get("/d"))
        await asked_for.wait()
        assert (await client.get("/d")).status_code == 503
        told = await read(app)
        assert told["gateway_requests_in_flight"] == 1
        assert told["gateway_requests_refused_total"] == 1
        assert told["gateway_requests_admitted_total"] == 1
        assert told["gateway_requests_limit"] == 1
        assert told["gateway_requests_waiting"] == 0
        assert 1 <= told["gateway_requests_pace"] <= 256
        assert told["gateway_event_loop_lag_seconds"] >= 0
        go.set()
        await first
        assert (await read(app))["gateway_requests_in_flight"] == 0


@pytest.mark.parametrize("used", [True, False])
async def test_a_shared_store_that_is_gone_and_comes_back_is_told(
    used: bool, tmp_path: Path
) -> None:
    mock = respx.mock(assert_all_mocked=False, assert_all_called=used)
    with running(tmp_path) as redis, mock as router:
        router.get(url__startswith="http://a.test/x/").respond(json=1)
        router.route(host="127.0.0.1").pass_through()
        numbers = itertools.count()

        async def told(up: int, app: Any, client: httpx.AsyncClient) -> None:
            async def says() -> bool | None:
                if used:
                    assert (await client.get(f"/e/{next(numbers)}")).status_code == 200
                return (await read(app))["gateway_store_up"] == up or None

            await until_found(says)

        redis.kill()
        app: Any = application(TEXT, redis_url=redis.url)
        async with served(app) as url, httpx.AsyncClient(base_url=url) as client:
            for up, change in ((0, None), (1, redis.start), (0, redis.kill)):
                if change is not None:
                    await asyncio.to_thread(change)
                await told(up, app, client)
                assert (await client.get("/readyz")).status_code == 200


async def test_two_applications_of_one_process_tell_of_themselves() -> None:
    one, other = application(TEXT), application(TEXT)
    with respx.mock:
        respx.get("http://a.test/x").respond(json=1)
        async with asked(one) as client:
            await client.get("/d")
        assert (await read(one))["gateway_cache_entries"] == 1
        assert (await read(other))["gateway_cache_entries"] == 0


@respx.mock
async def test_large_answers_that_were_shaped_elsewhere_are_told() -> None:
    respx.get("http://a.test/x").respond(json=[{"n": n} for n in range(60_000)])
    text = TEXT.replace('{get: "a:/x"}', '{get: "a:/x", select: "sort_by(@, &n)[-1].n"}')
    app = application(text)
    async with served(app) as url, httpx.AsyncClient(base_url=url) as client:
        respx.route(host="127.0.0.1").pass_through()
        assert (await client.get("/d")).json()["data"] == {"x": 59_999}
        async with asked(admin(app)) as operator:
            metrics = (await operator.get("/metrics")).text
    for line in (
        'gateway_worker_jobs_total{lane="slow"} 2.0',
        'gateway_worker_jobs_total{lane="quick"} 0.0',
        'gateway_worker_jobs_abandoned_total{lane="slow"} 0.0',
        'gateway_worker_processes_started_total{lane="slow"} 1.0',
        "gateway_decoding_bytes 0.0",
        "gateway_decoding_waiting 0.0",
    ):
        assert f"\n{line}\n" in metrics


CAUSES = """
upstreams:
  failing: {base_url: http://failing.test, retry: {attempts: 2, base: 1ms}, breaker: {minimum: 4}}
  slow: {base_url: http://slow.test, timeout: 50ms}
  cached: {base_url: http://cached.test, cache: {ttl: 1h}}
dashboards:
  a: {path: "/a", sections: {x: {get: "failing:/x"}}}
  b: {path: "/b", sections: {x: {get: "slow:/x"}}}
  c: {path: "/c/{n}", parameters: {n: {type: integer}}, sections: {x: {get: "cached:/x?{n}"}}}
"""


async def text_of(app: Any) -> set[str]:
    async with asked(admin(app)) as operator:
        return set((await operator.get("/metrics")).text.splitlines())


@respx.mock
async def test_the_cause_of_a_failing_upstream_is_one_query_away() -> None:
    respx.get("http://failing.test/x").respond(503)
    app = application(CAUSES)
    async with asked(app) as client:
        for _ in range(4):
            await client.get("/a")
    lines = await text_of(app)
    assert (
        'gateway_upstream_attempts_total{outcome="upstream_status",upstream="failing"} 4.0' in lines
    )
    assert 'gateway_upstream_attempt_duration_seconds_count{upstream="failing"} 4.0' in lines
    assert 'gateway_retries_total{upstream="failing"} 2.0' in lines
    assert 'gateway_breaker_state{upstream="failing"} 2.0' in lines
    assert 'gateway_breaker_changes_total{state="open",upstream="failing"} 1.0' in lines
    assert 'gateway_rejections_total{reason="breaker_open",upstream="failing"} 2.0' in lines
    assert any(line.startswith('gateway_retry_budget{upstream="failing"}') for line in lines)


@respx.mock
async def test_the_cause_of_a_slow_upstream_is_one_query_away() -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    respx.get("http://slow.test/x").mock(side_effect=hang)
    app = application(CAUSES)
    async with asked(app) as client:
        request = asyncio.create_task(client.get("/b"))

        async def in_flight() -> bool | None:
            lines = await text_of(app)
            return 'gateway_concurrency_in_flight{upstream="slow"} 1.0' in lines or None

        await until_found(in_flight)
        await request
    lines = await text_of(app)
    assert (
        'gateway_upstream_attempts_total{outcome="upstream_timeout",upstream="slow"} 1.0' in lines
    )
    assert 'gateway_concurrency_in_flight{upstream="slow"} 0.0' in lines
    assert 'gateway_concurrency_queued{upstream="slow"} 0.0' in lines
    assert 'gateway_concurrency_limit{upstream="slow"} 64.0' in lines


@respx.mock
async def test_what_the_cache_did_is_counted() -> None:
    respx.get(url__startswith="http://cached.test/x").respond(json=1)
    app = application(CAUSES.replace("?{n}", ""))
    async with asked(app) as client:
        for number in range(3):
            assert (await client.get(f"/c/{number}")).status_code == 200
    lines = await text_of(app)
    assert 'gateway_cache_requests_total{result="miss",upstream="cached"} 1.0' in lines
    assert 'gateway_cache_requests_total{result="hit",upstream="cached"} 2.0' in lines


async def test_connections_are_counted_by_state() -> None:
    app = application(CAUSES.replace("http://cached.test", "http://127.0.0.1:1"))
    async with asked(app) as client:
        await client.get("/c/1")
    lines = await text_of(app)
    assert 'gateway_connections{state="idle",upstream="cached"} 0.0' in lines
    assert 'gateway_connections{state="busy",upstream="cached"} 0.0' in lines


async def test_what_runs_is_named() -> None:
    one, other = application(CAUSES), application(TEXT)
    lines = await text_of(one)
    assert any(line.startswith("gateway_build_info{") and line.endswith(" 1.0") for line in lines)
    (hash_of_one,) = [line for line in lines if line.startswith("gateway_config_info{")]
    assert hash_of_one in await text_of(application(CAUSES))
    assert hash_of_one not in await text_of(other)


@respx.mock
async def test_answers_are_counted_by_dashboard_and_status() -> None:
    respx.get("http://cached.test/x").respond(json=1)
    respx.get("http://failing.test/x").respond(404)
    app = application(CAUSES.replace("?{n}", ""))
    async with asked(app) as client:
        first = await client.get("/c/1")
        again = {"if-none-match": first.headers["etag"]}
        assert [(await client.get("/c/1")).status_code, (await client.get("/c/1", headers=again)).status_code,
                (await client.get("/c/2", headers=again)).status_code, (await client.get("/c/x")).status_code,
                (await client.get("/a")).status_code] == [200, 304, 304, 422, 200]  # fmt: skip
    lines = await text_of(app)
    for status, count in (("200", 2), ("304", 2), ("422", 1)):
        assert f'gateway_requests_total{{dashboard="c",status="{status}"}} {count}.0' in lines
    assert 'gateway_request_duration_seconds_count{dashboard="c"} 5.0' in lines
    assert (
        'gateway_section_duration_seconds_count{dashboard="c",section="x",state="ok"} 2.0' in lines
    )
    assert 'gateway_section_duration_seconds_count{dashboard="a",section="x",state="failed"} 1.0' in lines  # fmt: skip


async def test_a_client_that_leaves_is_counted() -> None:
    asked_for = asyncio.Event()

    async def hang(_: httpx.Request) -> httpx.Response:
        asked_for.set()
        await asyncio.Event().wait()
        raise AssertionError

    app = application(CAUSES.replace("timeout: 50ms", ""))
    with respx.mock:
        respx.get("http://slow.test/x").mock(side_effect=hang)
        respx.route(host="127.0.0.1").pass_through()
        async with served(app) as url, httpx.AsyncClient(base_url=url) as client:
            request = asyncio.create_task(client.get("/b"))
            await asked_for.wait()
            request.cancel()

            async def counted() -> bool | None:
                lines = await text_of(app)
                return 'gateway_requests_total{dashboard="b",status="499"} 1.0' in lines or None

            await until_found(counted)
    lines = await text_of(app)
    assert 'gateway_upstream_attempts_total{outcome="cancelled",upstream="slow"} 1.0' in lines


@respx.mock
async def test_streams_are_counted_as_answers() -> None:
    respx.get("http://cached.test/x").respond(json=1)
    app = application(CAUSES.replace("?{n}", ""))
    stream = {"accept": "text/event-stream"}
    async with asked(app) as client:
        first = await client.get("/c/1", headers=stream)
        tag = re.findall(r"^id: (.+)$", first.text, re.MULTILINE)[-1]
        known = {**stream, "last-event-id": tag}
        statuses = [
            (await client.get(path, headers=headers)).status_code
            for path, headers in (("/c/1", stream), ("/c/1", known), ("/c/2", known))
        ]
    assert statuses == [200, 204, 204]
    lines = await text_of(app)
    for status in ("200", "204"):
        assert f'gateway_requests_total{{dashboard="c",status="{status}"}} 2.0' in lines
