from __future__ import annotations

import pytest

from tests.serving import admin, application, asked

TEXT = 'upstreams: {a: {base_url: http://a.test}}\ndashboards: {d: {path: /d, sections: {x: {get: "a:/"}}}}'


async def test_the_public_port_has_neither_metrics_nor_administration() -> None:
    async with asked(application(TEXT, admin_token="s3cret")) as client:
        for path in ("/metrics", "/admin/purge"):
            answer = await client.post(path, headers={"authorization": "Bearer s3cret"})
            assert answer.status_code == 404, path
            assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("path", ["/d", "/docs", "/openapi.json", "/nothing"])
async def test_the_admin_port_has_no_dashboards_and_no_documentation(path: str) -> None:
    async with asked(admin(application(TEXT))) as operator:
        answer = await operator.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_probes_of_both_ports_agree() -> None:
    app = application(TEXT)
    async with asked(app) as client, asked(admin(app)) as operator:
        for draining, status in ((False, 200), (True, 503)):
            app.lifecycle.draining = draining
            for port in (client, operator):
                assert (await port.get("/readyz")).status_code == status
                assert (await port.get("/healthz")).status_code == 200
