from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import respx

from tests.serving import admin, application, asked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEXT = """
upstreams: {a: {base_url: http://a.test, cache: {ttl: 1h, jitter: 0, early_refresh: 0}}, b: {base_url: http://b.test}}
dashboards:
  d: {path: /d, tags: [t], sections: {x: {get: "a:/x"}}}
  e: {path: /e, sections: {x: {get: "a:/y"}}}
"""
TOKEN = {"authorization": "Bearer s3cret"}


@respx.mock
@pytest.mark.parametrize(
    ("what", "again"),
    [
        ({"dashboard": "d"}, {"/d"}),
        ({"dashboard": "e"}, {"/e"}),
        ({"tag": "t"}, {"/d"}),
        ({"upstream": "a"}, {"/d", "/e"}),
        ({"upstream": "b"}, set()),
        ({"everything": True}, {"/d", "/e"}),
    ],
)
async def test_what_is_purged_is_asked_for_again(what: dict[str, object], again: set[str]) -> None:
    routes = {
        "/d": respx.get("http://a.test/x").respond(json=1),
        "/e": respx.get("http://a.test/y").respond(json=2),
    }
    app = application(TEXT)
    async with asked(app) as client, asked(admin(app, admin_token="s3cret")) as operator:
        for path in routes:
            await client.get(path)
            await client.get(path)
        assert [route.call_count for route in routes.values()] == [1, 1]
        answer = await operator.post("/admin/purge", json=what, headers=TOKEN)
        assert (answer.status_code, answer.json()) == (200, {"processes": 1})
        for path in routes:
            await client.get(path)
    assert {path for path, route in routes.items() if route.call_count == 2} == again


@pytest.mark.parametrize("body", [{}, {"tag": "a", "upstream": "b"}, {"nope": 1}, {"tag": ""}, []])
async def test_what_is_no_purge_is_refused(body: object) -> None:
    async with asked(admin(application(TEXT), admin_token="s3cret")) as client:
        answer = await client.post("/admin/purge", json=body, headers=TOKEN)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["invalid_parameters"]


@pytest.mark.parametrize("keys", [[f"{n}" for n in range(500)], ["k" * 4000]])
async def test_a_refused_purge_repeats_little(keys: list[str]) -> None:
    async with asked(admin(application(TEXT), admin_token="s3cret")) as client:
        answer = await client.post("/admin/purge", json=dict.fromkeys(keys, 1), headers=TOKEN)
    assert answer.status_code == 422
    assert len(answer.content) < 1_000


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 10_000_000:
            read += 1000
            yield b"x" * 1000

    async with asked(admin(application(TEXT), admin_token="s3cret")) as client:
        answer = await client.post("/admin/purge", content=endless())
        assert (answer.status_code, read) == (401, 0)  # not a byte of it without the token
        answer = await client.post("/admin/purge", content=endless(), headers=TOKEN)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert read < 10_000
