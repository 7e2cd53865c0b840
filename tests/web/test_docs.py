"""The page `/docs`: complete, unchanged, and from no other host."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.web import docs
from tests.html_links import Links
from tests.serving import application, asked

VENDORED = Path(docs.__file__).parent / "swagger_ui"
CONFIGURATION = (
    "upstreams: {a: {base_url: http://a.test}}\n"
    'dashboards: {d: {path: /d, sections: {x: {get: "a:/"}}}}'
)
BUNDLE = f"/docs/{docs.VERSION}/swagger-ui-bundle.js"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with asked(application(CONFIGURATION)) as client:
        yield client


@pytest.mark.parametrize("name", docs.INTEGRITY)
def test_the_vendored_files_are_those_of_npm(name: str) -> None:
    content = gzip.decompress((VENDORED / f"{name}.gz").read_bytes())
    digest = base64.b64encode(hashlib.sha384(content).digest()).decode()
    assert docs.INTEGRITY[name] == f"sha384-{digest}"


def test_the_vendored_files_come_with_their_version_and_licenses() -> None:
    readme = (VENDORED / "README.md").read_text()
    assert readme.count(docs.VERSION) == 3
    bundle = gzip.decompress((VENDORED / "swagger-ui-bundle.js.gz").read_bytes()).decode()
    assert f'"{docs.VERSION}"' in bundle
    assert "Apache License" in (VENDORED / "LICENSE").read_text()
    assert (VENDORED / "NOTICE").exists()
    assert (VENDORED / "swagger-ui-bundle.js.LICENSE.txt").exists()


async def test_the_page_loads_only_files_of_the_gateway(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    links = Links()
    links.feed(page.text)
    assert len(links.paths) == 3
    for path in links.paths:
        answer = await client.get(f"/{path}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] in {"text/javascript", "text/css"}
    assert links.inline == []
    start = (await client.get("/docs/start.js")).text
    assert not re.search(r"https?://|//[a-z]+\.[a-z]", page.text + start)
    assert 'url: "openapi.json"' in start


async def test_a_browser_refuses_another_swagger_ui(client: httpx.AsyncClient) -> None:
    links = Links()
    links.feed((await client.get("/docs")).text)
    told = {
        (one.get("src") or one.get("href") or "").rpartition("/")[2]: one.get("integrity")
        for one in links.loaded
    }
    assert told == {**docs.INTEGRITY, "start.js": None}


async def test_the_policy_allows_no_other_host(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/docs/start.js", BUNDLE):
        policy = (await client.get(path)).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert "http" not in policy


async def test_pages_are_revalidated_and_versions_are_stored_for_good(
    client: httpx.AsyncClient,
) -> None:
    for path, control in (("/docs", "no-cache"), (BUNDLE, "public, max-age=31536000, immutable")):
        answer = await client.get(path)
        assert answer.headers["cache-control"] == control
        known = {"if-none-match": answer.headers["etag"]}
        again = await client.get(path, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
        head = await client.head(path)
        assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1, gzip ;q=0.8", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
        ("", False),
    ],
)
async def test_swagger_ui_is_compressed_for_those_who_accept_it(
    client: httpx.AsyncClient, accepted: str, compressed: bool
) -> None:
    answer = await client.get(BUNDLE, headers={"accept-encoding": accepted})
    assert (answer.headers.get("content-encoding") == "gzip") is compressed
    assert answer.headers["vary"] == "Accept-Encoding"
    assert len(answer.content) > 1_000_000  # httpx has decoded it
    assert "SwaggerUIBundle" in answer.text


async def test_the_pages_are_not_operations(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if path.startswith("/docs")]


async def test_without_docs_there_is_nothing() -> None:
    async with asked(application(CONFIGURATION, docs=False)) as client:
        for path in ("/docs", "/docs/start.js", BUNDLE):
            assert (await client.get(path)).status_code == 404
