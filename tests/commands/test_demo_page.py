"""The page at `/` of the demo. `clients/typescript` tests it in a browser."""

from __future__ import annotations

import re

import httpx

from gateway.app import create_app
from gateway.commands import demo_page
from gateway.config.settings import Settings
from gateway.plan.load import load, shipped
from tests.html_links import Links
from tests.serving import asked


async def pages() -> dict[str, httpx.Response]:
    """Return the page and everything that it loads, by path."""
    app = create_app(load(shipped()), Settings(redis_url=None), routers=[demo_page.router()])
    async with asked(app) as client:
        page = await client.get("/")
        links = Links()
        links.feed(page.text)
        assert links.inline == []
        return {"/": page} | {path: await client.get(f"/{path}") for path in links.paths}


async def test_the_page_loads_only_files_of_the_gateway() -> None:
    found = await pages()
    types = [answer.headers["content-type"].split(";")[0] for answer in found.values()]
    assert types == ["text/html", "text/css", "text/javascript"]
    for answer in found.values():
        assert answer.status_code == 200
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["etag"]
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", answer.text)


async def test_its_script_never_reads_text_as_html() -> None:
    script = (await pages())["demo/page.js"].text
    assert "document.createElement" in script
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", script)


async def test_the_parts_that_the_script_looks_for_are_on_the_page() -> None:
    found = await pages()
    wanted = set(re.findall(r'byId\("([a-z]+)"\)', found["demo/page.js"].text))
    assert len(wanted) > 5
    assert wanted <= set(re.findall(r'id="([a-z]+)"', found["/"].text))


async def test_only_the_demo_has_the_page() -> None:
    async with asked(create_app(load(shipped()), Settings(redis_url=None))) as client:
        assert (await client.get("/")).status_code == 404
        assert (await client.get("/demo/page.js")).status_code == 404
