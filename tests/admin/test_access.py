from __future__ import annotations

import pytest

from gateway.admin.access import is_loopback
from tests.serving import admin, application, asked

TEXT = 'upstreams: {a: {base_url: http://a.test}}\ndashboards: {d: {path: /d, sections: {x: {get: "a:/"}}}}'
EVERYTHING = {"everything": True}


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer other"}, {"authorization": "Basic s3cret"}]
)
async def test_a_request_without_the_token_is_refused(headers: dict[str, str]) -> None:
    async with asked(admin(application(TEXT), admin_token="s3cret")) as operator:
        answer = await operator.post("/admin/purge", json=EVERYTHING, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("host", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("localhost", {}, 200),
        ("127.0.0.1", {"origin": "https://evil.example"}, 403),
        ("127.0.0.1", {"origin": "null"}, 403),
        ("0.0.0.0", {}, 403),
    ],
)
async def test_without_a_token_only_this_machine_may_ask(
    host: str, headers: dict[str, str], status: int
) -> None:
    async with asked(admin(application(TEXT), admin_host=host)) as operator:
        answer = await operator.post("/admin/purge", json=EVERYTHING, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:8001"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "localhost:9"}, 200),
        ({"host": "LOCALHOST"}, 200),
        ({"host": "[::1]:8001"}, 200),
        ({"host": "[::1]"}, 200),
        ({"host": "evil.example:8001"}, 403),
        ({"host": "localhost.evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "[evil]:8001"}, 403),
        ({"host": ""}, 403),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
async def test_pages_in_a_browser_of_this_machine_are_refused(
    headers: dict[str, str], status: int
) -> None:
    async with asked(admin(application(TEXT))) as operator:
        purged = await operator.post("/admin/purge", json=EVERYTHING, headers=headers)
        metrics = await operator.get("/metrics", headers=headers)
    assert (purged.status_code, metrics.status_code) == (status, status)


async def test_elsewhere_names_are_free() -> None:
    headers = {"host": "gateway.example", "authorization": "Bearer s3cret"}
    for host in ("0.0.0.0", "127.0.0.1"):
        async with asked(admin(application(TEXT), admin_token="s3cret", admin_host=host)) as one:
            assert (await one.post("/admin/purge", json=EVERYTHING, headers=headers)).is_success
    async with asked(admin(application(TEXT), admin_host="0.0.0.0")) as prometheus:
        assert (await prometheus.get("/metrics", headers=headers)).is_success


async def test_a_token_is_enough_from_anywhere() -> None:
    headers = {"authorization": "Bearer s3cret", "origin": "https://ops.example"}
    app = admin(application(TEXT), admin_token="s3cret", admin_host="0.0.0.0")
    async with asked(app) as operator:
        answer = await operator.post("/admin/purge", json=EVERYTHING, headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("10.0.0.1", False), ("gateway.example", False), ("", False)],
)  # fmt: skip
def test_what_only_this_machine_can_reach(host: str, local: bool) -> None:
    assert is_loopback(host) == local
