"""Reloads of a configuration while it is served."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx

from gateway.app import create_admin, create_app
from gateway.config.settings import Settings
from gateway.errors import ConfigError
from gateway.plan.load import load
from gateway.reload import Reloader, watched
from gateway.runtime import Runtime
from tests.serving import admin, asked
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
upstreams:
  a: {base_url: http://a.test, timeout: %s, cache: {ttl: 1h}}
  b: {base_url: http://b.test, breaker: {minimum: 1}}
dashboards:
  %s: {path: /d, sections: {x: {get: "a:/x"}}}
  e: {path: /e, sections: {x: {get: "b:/x"}}}
"""


class Served:
    """An application that serves a file, and its reloader."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.write()
        self.app = create_app(path, Settings(redis_url=None))
        self.counts: Counter[str] = Counter()
        self.reloader = Reloader(self.app, path, counts=self.counts, **options)

    def write(self, timeout: str = "1s", name: str = "d") -> None:
        self.path.write_text(CONFIG % (timeout, name))


@pytest.fixture
def one(tmp_path: Path) -> Served:
    return Served(tmp_path / "gateway.yaml")


@respx.mock
async def test_another_configuration_is_served_from_the_next_request_on(one: Served) -> None:
    respx.get("http://a.test/x").respond(json=1)
    async with asked(one.app) as client:
        assert (await client.get("/d")).status_code == 200
        one.path.write_text(one.path.read_text().replace("path: /d", "path: /new"))
        reloaded = await one.reloader.reload()
        assert reloaded.changed
        assert (await client.get("/d")).status_code == 404
        assert (await client.get("/new")).status_code == 200
    assert one.counts == {"ok": 1}
    await one.reloader.aclose()


async def test_the_same_configuration_changes_nothing(one: Served) -> None:
    before = one.app.served
    one.path.write_text(one.path.read_text() + "\n# a comment\n")
    assert not (await one.reloader.reload()).changed
    assert one.app.served is before
    assert one.counts == {"unchanged": 1}


@respx.mock
async def test_a_bad_file_changes_nothing_and_is_reported_with_its_positions(
    one: Served, caplog: pytest.LogCaptureFixture
) -> None:
    respx.get("http://a.test/x").respond(json=1)
    before = one.app.served
    one.path.write_text(one.path.read_text().replace("breaker:", "braker:"))
    with pytest.raises(ConfigError):
        await one.reloader.reload()
    assert one.app.served is before
    assert one.counts == {"failed": 1}
    assert f"{one.path}:4:" in caplog.text
    assert "breaker" in caplog.text
    async with asked(one.app) as client:
        assert (await client.get("/d")).status_code == 200


@respx.mock
async def test_the_endpoint_reloads_and_reports(one: Served) -> None:
    app = create_admin(one.app, Settings(redis_url=None), reloader=one.reloader)
    async with asked(app) as operator:
        one.write("2s")
        answer = await operator.post("/admin/reload")
        assert (answer.status_code, answer.json()) == (200, {"changed": True, "dashboards": 2})
        one.path.write_text("upstreams: {}\nnope: 1\n")
        answer = await operator.post("/admin/reload")
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["file"] == str(one.path)
        assert {"line": 2, "column": 1} in [
            {name: mistake[name] for name in ("line", "column")} for mistake in problem["mistakes"]
        ]
    await one.reloader.aclose()


async def test_an_application_without_a_file_cannot_be_reloaded(one: Served) -> None:
    async with asked(admin(one.app)) as operator:
        assert (await operator.post("/admin/reload")).status_code == 404


@respx.mock
async def test_an_upstream_that_did_not_change_goes_over_with_its_state(one: Served) -> None:
    calls = respx.get("http://a.test/x").respond(json=1)
    respx.get("http://b.test/x").respond(503)
    before = one.app.served
    async with asked(one.app) as client:
        await client.get("/d")
        assert (await client.get("/e")).json()["errors"][0]["code"] == "upstream_status"
        one.write("2s")
        await one.reloader.reload()
        # The breaker of b is still open; the answer of a is still cached.
        assert (await client.get("/e")).json()["errors"][0]["code"] == "breaker_open"
        assert (await client.get("/d")).status_code == 200
    assert calls.call_count == 1
    assert one.app.served.upstreams["b"] is before.upstreams["b"]
    assert one.app.served.upstreams["a"] is not before.upstreams["a"]
    await one.reloader.aclose()


@respx.mock
async def test_requests_in_flight_finish_before_their_upstream_is_closed(tmp_path: Path) -> None:
    asked_for, go = asyncio.Event(), asyncio.Event()

    async def slow(_: httpx.Request) -> httpx.Response:
        asked_for.set()
        await go.wait()
        return httpx.Response(200, json=1)

    respx.get("http://a.test/x").mock(side_effect=slow)
    naps = 0

    async def nap(_: float) -> None:
        nonlocal naps
        naps += 1
        await go.wait()
        await asyncio.sleep(0)

    one = Served(tmp_path / "gateway.yaml", sleep=nap)
    async with asked(one.app) as client:
        request = asyncio.create_task(client.get("/d"))
        await asked_for.wait()
        one.write("2s")
        await one.reloader.reload()
        (retiring,) = one.reloader._retiring
        await until(lambda: naps)
        assert not retiring.done()
        go.set()
        assert (await request).json()["data"] == {"x": 1}
        await retiring


@respx.mock
async def test_a_request_that_never_ends_holds_no_runtime_for_ever(tmp_path: Path) -> None:
    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    one = Served(tmp_path / "gateway.yaml", sleep=at_once)
    one.app.served.endpoints[0].door.in_flight = 1
    one.write("2s")
    await one.reloader.reload()
    (retiring,) = one.reloader._retiring
    await retiring


@respx.mock
async def test_many_reloads_keep_few_runtimes(tmp_path: Path) -> None:
    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    respx.get("http://a.test/x").respond(json=1)
    one = Served(tmp_path / "gateway.yaml", sleep=at_once)
    async with asked(one.app) as client:
        for number in range(60):
            if number % 5 == 0:
                one.path.write_text("nonsense")
                with pytest.raises(ConfigError):
                    await one.reloader.reload()
            else:
                one.write(f"{number + 1}s")
                await one.reloader.reload()
            assert (await client.get("/d")).status_code == 200
            assert len(one.reloader._retiring) <= 9
    assert one.counts == {"ok": 48, "failed": 12}
    await one.reloader.aclose()


async def test_other_workers_are_told_once(tmp_path: Path) -> None:
    told: list[None] = []
    one = Served(tmp_path / "gateway.yaml", on_changed=lambda: told.append(None))
    one.write("2s")
    await one.reloader.reload()
    assert len(told) == 1
    await one.reloader.reload()  # unchanged
    one.write("3s")
    await one.reloader.reload(alone=False)  # they were told as well
    assert len(told) == 1
    await one.reloader.aclose()


@pytest.mark.parametrize("how", ["rewritten", "replaced", "symbolic link"])
async def test_a_file_that_changes_is_reloaded(tmp_path: Path, how: str) -> None:
    real = tmp_path
    if how == "symbolic link":  # as Kubernetes mounts a ConfigMap
        (tmp_path / "one").mkdir()
        (tmp_path / "..data").symlink_to("one")
        real = tmp_path / "one"
        (tmp_path / "gateway.yaml").symlink_to("..data/gateway.yaml")
    one = Served(real / "gateway.yaml")
    one.reloader.path = tmp_path / "gateway.yaml"
    assert load(one.reloader.path).plans[0].name == "d"
    watching = asyncio.create_task(watched(one.reloader))
    number = 0
    text = one.path.read_text()

    def change() -> bool:
        nonlocal number
        number += 1  # again and again, because watching begins at some time
        other = text.replace("  d:", f"  d{number}:")
        if how == "rewritten":
            one.path.write_text(other)
        elif how == "replaced":
            (tmp_path / "new").write_text(other)
            (tmp_path / "new").rename(tmp_path / "gateway.yaml")
        else:
            (tmp_path / f"two{number}").mkdir()
            (tmp_path / f"two{number}" / "gateway.yaml").write_text(other)
            (tmp_path / "..new").symlink_to(f"two{number}")
            (tmp_path / "..new").rename(tmp_path / "..data")
        return one.counts["ok"] > 0

    try:
        await until(change)
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await one.reloader.aclose()
    assert one.app.served.loaded.plans[0].name.startswith("d")
    assert one.app.served.loaded.plans[0].name != "d"


async def test_old_runtimes_are_freed(tmp_path: Path) -> None:
    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    one = Served(tmp_path / "gateway.yaml", sleep=at_once)
    for number in range(4):
        one.write(f"{number + 2}s")
        await one.reloader.reload()
    for retiring in one.reloader._retiring:
        await retiring
    one.reloader._retiring.clear()
    gc.collect()
    mine = [
        each
        for each in gc.get_objects()
        if type(each) is Runtime and each.loaded.file == str(one.path)
    ]
    assert mine == [one.app.served]
