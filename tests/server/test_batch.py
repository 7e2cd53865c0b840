"""`POST /batch`, both ways: on a server whose dashboards are asked directly, and through ASGI."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.errors import ConfigError
from gateway.plan.load import loads
from tests.decoding import decoded
from tests.server.clients import Answer, Server
from tests.server.conftest import TEXT
from tests.server.test_protocol import asked, get
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Any]

BATCHES = f"web: {{batch: {{max_requests: 3, max_body: 2KiB}}}}\n{TEXT}"
LINES = "Accept: application/jsonl"


def post(content: Any, *fields: str, method: str = "POST") -> bytes:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return get("/batch", *fields, f"Content-Length: {len(body)}", method=method) + body


def batch(*paths: str, **headers: str) -> dict[str, Any]:
    more = {"headers": headers} if headers else {}
    return {"requests": [{"id": f"r{n}", "path": path} | more for n, path in enumerate(paths)]}


def responses(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = json.loads(answer.body)["responses"]
    return found


def test_each_request_is_answered_as_if_it_had_been_sent_alone(made: Make) -> None:
    app = made(BATCHES)
    paths = ["/d/7", "/kept?sections=x", "/needed"]
    (answer,) = asked(app, post(batch(*paths))).answers
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["cache-control"] == "no-store"
    assert [one["id"] for one in responses(answer)] == ["r0", "r1", "r2"]
    for path, one in zip(paths, responses(answer), strict=True):
        (alone,) = asked(app, get(path)).answers
        assert (one["status"], one["body"]) == (alone.status, json.loads(alone.body))
        assert one["headers"]["content-type"] == alone.fields["content-type"]
        assert one["headers"].get("etag") == alone.fields.get("etag")


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/nothing", 404, "there is no dashboard at /nothing"),
        ("/healthz", 404, "there is no dashboard at /healthz"),
        ("/d/x", 422, "id is not an integer"),
        ("/d/%FF", 422, "the path is not UTF-8"),
        ("/kept?sections=y", 422, "sections names no section y; there is x"),
        ("/batch", 422, "a batch cannot be in a batch"),
        ("/batch?x", 422, "a batch cannot be in a batch"),
        ("//evil.test", 404, "there is no dashboard at //evil.test"),
    ],
)
def test_a_wrong_request_has_its_own_problem(
    made: Make, path: str, status: int, detail: str
) -> None:
    (answer,) = asked(made(BATCHES), post(batch(path, "/d/1"))).answers
    wrong, right = responses(answer)
    assert (wrong["status"], wrong["body"]["detail"]) == (status, detail)
    assert wrong["headers"]["content-type"] == "application/problem+json"
    assert right["status"] == 200


def test_a_request_whose_answer_is_known_is_304(made: Make) -> None:
    app = made(BATCHES)
    (answer,) = asked(app, get("/kept")).answers
    tag = answer.fields["etag"]
    one, two = responses(
        asked(app, post(batch("/kept", "/d/2", **{"If-None-Match": tag}))).answers[0]
    )
    assert (one["status"], one["body"], one["headers"]["etag"]) == (304, None, tag)
    assert two["status"] == 200
    (of_the_batch,) = asked(app, post(batch("/kept"), f"If-None-Match: {tag}")).answers
    assert responses(of_the_batch)[0]["status"] == 200  # a batch has no validator


def test_header_fields_of_the_batch_apply_to_each_request(made: Make, upstream: Any) -> None:
    route = upstream.get("/who")
    route.mock(side_effect=lambda r: httpx.Response(200, json=dict(r.headers)))
    text = BATCHES + (
        "  who: {path: /who, sections: {x: {get: 'private:/who'}}}\n"
        "  tongue: {path: /tongue, sections: {x: {get: 'tongue:/who'}}}\n"
    )
    text = text.replace(
        "upstreams:", "upstreams:\n  tongue: {base_url: http://a.test, "
        "forward_headers: [accept-language]}",
    )  # fmt: skip
    requests = {
        "requests": [
            {"id": "a", "path": "/who"},
            {"id": "b", "path": "/tongue"},
            {"id": "c", "path": "/tongue", "headers": {"accept-language": "fr"}},
        ]
    }
    sent = post(requests, "Authorization: Bearer me", "Accept-Language: de")
    one, two, three = responses(asked(made(text), sent).answers[0])
    assert one["body"]["data"]["x"]["authorization"] == "Bearer me"
    assert "private" in one["headers"]["cache-control"]
    assert two["body"]["data"]["x"]["accept-language"] == "de"
    assert three["body"]["data"]["x"]["accept-language"] == "fr"


@pytest.mark.parametrize(
    ("content", "status", "named"),
    [
        (b"", 400, ""),
        (b"{", 400, ""),
        (b'{"requests": [{"id": "\\ud800", "path": "/d/1"}]}', 400, ""),
        (b"[" * 20 + b"]" * 20, 400, ""),
        ([], 422, "body"),
        ({}, 422, "body"),
        ({"requests": [], "more": 1}, 422, "body"),
        ({"requests": []}, 422, "requests"),
        ({"requests": {}}, 422, "requests"),
        (batch(*["/d/1"] * 4), 422, "requests"),
        ({"requests": ["/d/1"]}, 422, "requests[0]"),
        ({"requests": [{"path": "/d/1"}]}, 422, "requests[0].id"),
        ({"requests": [{"id": 1, "path": "/d/1"}]}, 422, "requests[0].id"),
        ({"requests": [{"id": "", "path": "/d/1"}]}, 422, "requests[0].id"),
        ({"requests": [{"id": "x" * 65, "path": "/d/1"}]}, 422, "requests[0].id"),
        ({"requests": [{"id": "a"}]}, 422, "requests[0].path"),
        ({"requests": [{"id": "a", "path": "d/1"}]}, 422, "requests[0].path"),
        ({"requests": [{"id": "a", "path": "http://a/d/1"}]}, 422, "requests[0].path"),
        ({"requests": [{"id": "a", "path": "/d/ 1"}]}, 422, "requests[0].path"),
        ({"requests": [{"id": "a", "path": "/d/1\r\nX: y"}]}, 422, "requests[0].path"),
        ({"requests": [{"id": "a", "path": "/d/\u00e4"}]}, 422, "requests[0].path"),
        ({"requests": [{"id": "a", "path": "/", "method": "GET"}]}, 422, "requests[0].method"),
        ({"requests": [{"id": "a", "path": "/", "headers": []}]}, 422, "requests[0].headers"),
        (batch("/", Authorization="x"), 422, "requests[0].headers.Authorization"),
        (batch("/", **{"X-User": "admin"}), 422, "requests[0].headers.X-User"),
        (batch("/", traceparent="a\r\nb"), 422, "requests[0].headers.traceparent"),
    ],
)
def test_a_batch_of_another_shape_is_refused_as_a_whole(
    made: Make, upstream: Any, content: Any, status: int, named: str
) -> None:
    (answer,) = asked(made(BATCHES), post(content)).answers
    assert answer.status == status
    problem = json.loads(answer.body)
    if named:
        assert [one["name"] for one in problem["invalid_parameters"]] == [named]
    assert len(answer.body) < 1000
    assert not upstream.calls


def test_a_batch_that_is_too_large_or_coded_is_refused(made: Make) -> None:
    app = made(BATCHES)
    (answer,) = asked(app, post(b" " * 3000)).answers
    assert answer.status == 413
    (answer,) = asked(app, post(b"x", "Content-Encoding: gzip")).answers
    assert answer.status == 415


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024 + 1, 200_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_batch_may_be_larger_than_content_that_no_one_reads(
    made: Make, size: int, *, chunked: bool
) -> None:
    app = made(f"web: {{batch: {{max_body: 200KB}}}}\n{TEXT}")
    body = json.dumps(batch("/d/1")).encode().ljust(size)
    sent = post(body)
    if chunked:
        head = get("/batch", "Transfer-Encoding: chunked", method="POST")
        sent = head + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    (answer,) = asked(app, sent).answers
    assert responses(answer)[0]["status"] == 200


def test_there_are_no_batches_without_the_key(made: Make) -> None:
    (answer,) = asked(made(), post(batch("/d/1"))).answers
    assert answer.status == 404


def test_only_post_is_allowed(made: Make) -> None:
    for method in ("GET", "PUT"):
        (answer,) = asked(made(BATCHES), post(batch("/d/1"), method=method)).answers
        assert (answer.status, answer.fields["allow"]) == (405, "POST")


def test_a_dashboard_cannot_have_the_path() -> None:
    with pytest.raises(ConfigError, match="/batch is reserved"):
        loads(TEXT + "  b: {path: /batch, sections: {x: {get: 'a:/'}}}\n")


def test_a_path_of_a_parameter_does_not_hide_it(made: Make) -> None:
    text = BATCHES + "  any: {path: '/{p}', parameters: {p: {type: string}}, "
    text += "sections: {x: {get: 'a:/x/1'}}}\n"
    one, two = responses(asked(made(text), post(batch("/else", "/batch"))).answers[0])
    assert (one["status"], two["status"]) == (200, 422)


class Held:
    """An upstream that answers when it may."""

    def __init__(self, upstream: Any) -> None:
        self.go_on = asyncio.Event()
        self.calls = self.cancelled = 0
        upstream.get(path__startswith="/held").mock(side_effect=self.answer)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return httpx.Response(200, json=str(request.url.path))


HELD = """
  held: {path: "/held/{id}", parameters: {id: {type: integer}}, sections: {x: {get: "a:/held/{id}"}}}
  shared: {path: /shared, sections: {x: {get: "cached:/held"}}}
"""


def test_as_lines_each_answer_comes_when_it_is_there(made: Make, upstream: Any) -> None:
    async def main() -> None:
        held = Held(upstream)
        client = Server(made(BATCHES + HELD)).client()
        client.send(post(batch("/held/1", "/d/1", "/nothing"), LINES))
        await until(lambda: client.received.count(b'"id":') == 2)
        assert b"content-type: application/jsonl" in client.received
        assert b'"r0"' not in client.received
        held.go_on.set()
        await until(lambda: client.quiet)
        (answer,) = client.answers
        lines = [json.loads(line) for line in answer.body.splitlines()]
        assert [line["id"] for line in lines] in (["r1", "r2", "r0"], ["r2", "r1", "r0"])
        assert {line["id"]: line["status"] for line in lines} == {"r0": 200, "r1": 200, "r2": 404}

    asyncio.run(main())


@pytest.mark.parametrize("accept", [LINES, "Accept: */*"])
def test_a_client_that_leaves_cancels_the_calls(made: Make, upstream: Any, accept: str) -> None:
    async def main() -> None:
        held = Held(upstream)
        app = made(BATCHES + HELD)
        client = Server(app).client()
        client.send(post(batch("/d/1", "/held/1", "/held/2"), accept))
        await until(lambda: held.calls == 2)
        client.leave()
        await until(lambda: held.cancelled == 2)
        await until(lambda: app.served.process.admission.in_flight == 0)

    asyncio.run(main())


def test_requests_of_a_batch_share_a_flight(made: Make, upstream: Any) -> None:
    async def main() -> None:
        held = Held(upstream)
        client = Server(made(BATCHES + HELD)).client()
        client.send(post(batch("/shared", "/shared?other")))
        await until(lambda: held.calls)
        held.go_on.set()
        await until(lambda: client.quiet)
        assert [one["status"] for one in responses(client.answers[0])] == [200, 200]
        assert held.calls == 1

    asyncio.run(main())


def test_each_request_is_admitted_for_itself(made: Make, upstream: Any) -> None:
    async def main() -> None:
        held = Held(upstream)
        app = made(BATCHES + HELD, max_in_flight=2)
        client = Server(app).client()
        client.send(post(batch("/held/1", "/held/2", "/held/3")))
        await until(lambda: held.calls == 2)
        assert app.served.process.admission.in_flight == 2
        held.go_on.set()
        await until(lambda: client.quiet)
        found = responses(client.answers[0])
        assert [one["status"] for one in found] == [200, 200, 503]
        assert found[2]["headers"]["retry-after"] == "1"

    asyncio.run(main())


def test_a_defect_is_the_problem_of_its_request(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made(BATCHES)
    broken = next(one for one in app.served.endpoints if one.plan.name == "kept")

    def bug(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(broken, "answer", bug)
    one, two = responses(asked(app, post(batch("/kept", "/d/1"))).answers[0])
    assert (one["status"], two["status"]) == (500, 200)


def test_a_batch_is_compressed_unless_it_is_private(made: Make, upstream: Any) -> None:
    upstream.get("/some").respond(json=["some text"] * 200)
    more = "  some: {path: /some, sections: {x: {get: 'a:/some'}}}\n"
    encoding = "Accept-Encoding: gzip"
    app = made(BATCHES + more)
    for fields, compressed in (([encoding], True), ([encoding, "Authorization: x"], False)):
        (answer,) = asked(app, post(batch("/some"), *fields)).answers
        assert ("content-encoding" in answer.fields) is compressed
        body = decoded(answer.fields.get("content-encoding", ""), answer.body)
        (one,) = json.loads(body)["responses"]
        assert "content-encoding" not in one["headers"]
        assert ("no-transform" in answer.fields["cache-control"]) is not compressed


def test_a_page_of_another_origin_may_send_one(made: Make) -> None:
    text = BATCHES.replace("web: {", 'web: {cors: {origins: ["https://app.test"]}, ')
    asks = ("Origin: https://app.test", "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: content-type")  # fmt: skip
    preflight, answer = asked(
        made(text),
        get("/batch", *asks, method="OPTIONS"),
        post(batch("/d/1"), "Origin: https://app.test"),
    ).answers
    assert preflight.fields["access-control-allow-headers"] == "content-type"
    assert answer.fields["access-control-allow-origin"] == "https://app.test"
    assert answer.fields["vary"] == "accept, Origin"
    assert responses(answer)[0]["status"] == 200


def test_it_is_in_the_openapi_document(made: Make) -> None:
    (answer,) = asked(made(BATCHES), get("/openapi.json")).answers
    operation = json.loads(answer.body)["paths"]["/batch"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["requests"]["maxItems"] == 3
    assert set(operation["responses"]) == {"200", "400", "413", "415", "422"}
    assert set(operation["responses"]["200"]["content"]) == {
        "application/json", "application/jsonl"
    }  # fmt: skip
