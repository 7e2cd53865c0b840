"""Applications whose dashboards are asked both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx

from tests.server.clients import through_asgi
from tests.serving import application

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEXT = """
upstreams:
  a: {base_url: http://a.test}
  cached: {base_url: http://a.test, cache: {ttl: 1h}}
  private: {base_url: http://a.test, forward_headers: [authorization]}
dashboards:
  d: {path: "/d/{id}", parameters: {id: {type: integer}}, sections: {x: {get: "a:/x/{id}"}}}
  q: {path: /q, parameters: {n: {type: integer, required: false}}, sections: {x: {get: "a:/x/1"}}}
  kept: {path: /kept, sections: {x: {get: "cached:/x/1"}}}
  own: {path: /own, sections: {x: {get: "private:/x/1"}}}
  large: {path: /large, sections: {x: {get: "a:/large"}}}
  needed: {path: /needed, sections: {x: {get: "a:/missing", required: true}}}
"""
LARGE = "x" * 250_000  # a larger one is decoded in a thread, which knows no virtual time


@pytest.fixture
def upstream() -> Iterator[Any]:
    with respx.mock(base_url="http://a.test", assert_all_called=False) as router:
        router.get("/large").respond(json=LARGE)
        router.get("/missing").respond(404, json={})
        router.get(path__regex=r"/x/\d+").mock(
            side_effect=lambda request: httpx.Response(200, json=str(request.url.path))
        )
        yield router


@pytest.fixture(params=["short", "asgi"])
def made(request: pytest.FixtureRequest, upstream: Any) -> Callable[..., Any]:
    """Return a function that makes an application, asked in one of the two ways."""

    def make(text: str = TEXT, **settings: Any) -> Any:
        app = application(text, **settings)
        return app if request.param == "short" else through_asgi(app)

    return make
