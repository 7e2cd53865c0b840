"""Overload as a client sees it: statuses of the endpoint, at the door and behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx

from gateway.engine.outcome import Outcome, State
from gateway.errors import BreakerOpen, DeadlineExceeded, LimiterFull, UpstreamTimeout
from gateway.plan.load import loads
from gateway.web.load_shedding import in_vain
from tests.serving import application, asked
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.errors import CallError

TEXT = """
upstreams:
  a: {base_url: http://a.test, concurrency: 1, queue: 0}
  b: {base_url: http://b.test}
  c: {base_url: http://c.test, cache: {ttl: 1h}}
dashboards:
  d: {path: /d, sections: {x: {get: "a:/x"}, y: {get: "a:/x/{x.n}"}}}
  required: {path: /required, sections: {x: {get: "a:/x", required: true}}}
  partial: {path: /partial, sections: {x: {get: "a:/x"}, z: {get: "b:/z"}}}
  fallback: {path: /fallback, sections: {x: {get: "a:/x", fallback: 0}}}
  hidden: {path: /hidden, sections: {z: {get: "b:/z", hidden: true}, x: {get: "a:/x"}}}
  cached: {path: /cached, sections: {z: {get: "c:/z"}}}
"""


class Upstreams:
    """Answers at once, except for calls to `a`, which wait until `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.held = 0

    async def a(self, _: httpx.Request) -> httpx.Response:
        self.held += 1
        await self.go.wait()
        return httpx.Response(200, json={"n": 1})


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    made = Upstreams()
    with respx.mock(assert_all_called=False) as router:
        router.get(host="a.test").mock(side_effect=made.a)
        router.get(host="b.test").respond(json={"n": 2})
        router.get(host="c.test").respond(json={"n": 3})
        yield made
        made.go.set()


async def beside_a_full_upstream(upstreams: Upstreams, path: str) -> httpx.Response:
    """Return the answer at `path` while another request has the only permit of `a`."""
    async with asked(application(TEXT)) as client:
        first = asyncio.create_task(client.get("/required"))
        await until(lambda: upstreams.held == 1)
        answer = await client.get(path)
        upstreams.go.set()
        assert (await first).status_code == 200
        return answer


@pytest.mark.parametrize("path", ["/d", "/hidden", "/required"])
async def test_an_answer_without_sections_because_of_our_own_limits_is_a_503(
    upstreams: Upstreams, path: str
) -> None:
    answer = await beside_a_full_upstream(upstreams, path)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    problem = answer.json()
    assert problem["code"] == "limiter_full"
    assert {error["code"] for error in problem["errors"]} <= {"limiter_full", "dependency_failed"}


@pytest.mark.parametrize("path", ["/partial", "/fallback"])
async def test_an_answer_with_any_section_is_a_200(upstreams: Upstreams, path: str) -> None:
    answer = await beside_a_full_upstream(upstreams, path)
    assert answer.status_code == 200
    assert answer.json()["errors"][0]["code"] == "limiter_full"


async def test_hits_and_probes_are_never_refused(upstreams: Upstreams) -> None:
    async with asked(application(TEXT, max_in_flight=1)) as client:
        assert (await client.get("/cached")).status_code == 200
        first = asyncio.create_task(client.get("/required"))
        await until(lambda: upstreams.held == 1)
        statuses = {
            path: (await client.get(path)).status_code
            for path in ("/cached", "/healthz", "/readyz", "/partial")
        }
        upstreams.go.set()
        await first
    assert statuses == {
        "/cached": 200, "/healthz": 200, "/readyz": 200, "/partial": 503,
    }  # fmt: skip


async def test_a_refusal_reads_no_parameters(upstreams: Upstreams) -> None:
    text = TEXT.replace("path: /cached,", "path: /cached, parameters: {n: {type: integer}},")
    async with asked(application(text, max_in_flight=1)) as client:
        first = asyncio.create_task(client.get("/required"))
        await until(lambda: upstreams.held == 1)
        refused = [await client.get("/cached?n=no") for _ in range(2)]
        upstreams.go.set()
        await first
        assert (await client.get("/cached?n=no")).status_code == 422
    assert {answer.status_code for answer in refused} == {503}
    assert refused[0].content == refused[1].content
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].headers["content-type"] == "application/problem+json"


async def test_a_request_that_waits_at_the_door_keeps_its_deadline(upstreams: Upstreams) -> None:
    text = TEXT.replace("  d: {path: /d,", "  d: {path: /d, deadline: 200ms,")
    app = application(text)
    async with asked(app) as client:
        (endpoint,) = [one for one in app.served.endpoints if one.plan.name == "d"]
        endpoint.door.limit = 0
        answer = await client.get("/d")
        endpoint.door.limit = 1
    assert answer.status_code == 503
    assert "errors" not in answer.json()
    assert upstreams.held == 0


async def test_a_client_that_leaves_while_it_waits_at_the_door_is_not_served(
    upstreams: Upstreams,
) -> None:
    app = application(TEXT)
    (endpoint,) = [one for one in app.served.endpoints if one.plan.name == "partial"]
    endpoint.door.limit = 0
    leaves = asyncio.Event()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/partial", "raw_path": b"/partial",
        "query_string": b"", "headers": [],
    }  # fmt: skip
    task = asyncio.create_task(app(scope, receive, send))
    await until(lambda: endpoint.door.waiting == 1)
    leaves.set()
    await task
    endpoint.door.limit = 1
    assert endpoint.door.waiting == endpoint.door.in_flight == 0
    assert not sent


def failed(error: CallError) -> Outcome:
    return Outcome.failed(error)


SHED = failed(LimiterFull("", shed=True))
LATE = failed(DeadlineExceeded("", shed=True))


@pytest.mark.parametrize(
    ("x", "y", "vain"),
    [
        (SHED, SHED, True),
        (SHED, LATE, True),
        (SHED, None, True),
        (SHED, Outcome(State.SKIPPED), True),
        (Outcome(State.SKIPPED), Outcome(State.SKIPPED), False),
        (SHED, Outcome(State.OK), False),
        (SHED, Outcome(State.STALE), False),
        (SHED, Outcome(State.FALLBACK), False),
        (SHED, failed(BreakerOpen("")), False),
        (SHED, failed(UpstreamTimeout("")), False),
        (SHED, failed(DeadlineExceeded("")), False),
    ],
)
def test_what_was_begun_in_vain(x: Outcome, y: Outcome | None, vain: bool) -> None:
    (plan,) = [plan for plan in loads(TEXT).plans if plan.name == "d"]
    assert in_vain(plan, [x, y]) is vain
