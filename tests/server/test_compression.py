"""Compressed answers, both ways: short, and through ASGI."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.decoding import decoded
from tests.server.clients import Server, answers
from tests.server.test_protocol import asked, get
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Any]

TEXT = """
upstreams:
  a: {base_url: http://a.test}
  cached: {base_url: http://a.test, cache: {ttl: 1h}}
  private: {base_url: http://a.test, forward_headers: [authorization]}
dashboards:
  some: {path: /some, sections: {x: {get: "a:/some"}}}
  small: {path: /small, sections: {x: {get: "a:/x/1"}}}
  kept: {path: /kept, sections: {x: {get: "cached:/some"}}}
  large: {path: /large, sections: {x: {get: "cached:/large"}}}
  mine: {path: /mine, sections: {x: {get: "private:/some"}}}
  found:
    path: /found
    parameters: {q: {type: string, required: false}}
    sections: {x: {get: "private:/some?q={q}"}}
"""
SOME = [{"id": number, "title": f"a title {number}"} for number in range(100)]
EVERY = "Accept-Encoding: gzip, deflate, br, zstd"


@pytest.fixture
def upstream(upstream: Any) -> Any:
    upstream.get("/some").respond(json=SOME)
    return upstream


@pytest.mark.parametrize("path", ["/some", "/kept", "/large"])
@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
def test_a_client_gets_the_same_document_compressed(made: Make, path: str, coding: str) -> None:
    app = made(TEXT)
    (plain,) = asked(app, get(path)).answers
    first, second = asked(app, *[get(path, f"Accept-Encoding: {coding}")] * 2).answers
    for answer in (first, second):
        assert answer.fields["content-encoding"] == coding
        assert len(answer.body) < len(plain.body) / 2
        assert json.loads(decoded(coding, answer.body))["data"] == json.loads(plain.body)["data"]
        assert answer.fields["vary"] == plain.fields["vary"] == "accept, Accept-Encoding"
        assert answer.fields["etag"] == plain.fields["etag"]
    assert "content-encoding" not in plain.fields


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/small", [EVERY]),
        ("/some", []),
        ("/some", ["Accept-Encoding: identity"]),
        ("/some", ["Accept-Encoding: gzip;q=0"]),
        ("/some", ["Accept-Encoding: zstd;q=x", "Accept-Encoding: \xff, ;;,"]),
        ("/some", ["Accept-Encoding:"]),
    ],
)
def test_what_is_small_or_not_wanted_is_sent_as_it_is(
    made: Make, path: str, fields: list[str]
) -> None:
    sent = get(path, *fields)
    (answer,) = asked(made(TEXT), sent).answers
    assert "content-encoding" not in answer.fields
    assert answer.fields["vary"] == "accept" + (", Accept-Encoding" if path == "/some" else "")
    assert json.loads(answer.body)["meta"]["complete"]


def test_several_lines_are_one_list(made: Make) -> None:
    (answer,) = asked(made(TEXT), get("/some", "Accept-Encoding: x", "Accept-Encoding: br")).answers
    assert answer.fields["content-encoding"] == "br"


def test_head_and_304_are_those_of_the_compressed_answer(made: Make) -> None:
    app = made(TEXT)
    for path in ("/some", "/kept"):
        (answer,) = asked(app, get(path, EVERY)).answers
        sent = get(path, EVERY, method="HEAD")
        (head,) = answers(asked(app, sent).received, head=True)
        told = ("content-length", "content-encoding", "etag", "vary")
        assert [head.fields[name] for name in told] == [answer.fields[name] for name in told]
        (same,) = asked(app, get(path, EVERY, f"If-None-Match: {answer.fields['etag']}")).answers
        assert (same.status, same.body) == (304, b"")
        assert same.fields["vary"] == "accept, Accept-Encoding"
        assert not {"content-encoding", "content-length"} & same.fields.keys()


def test_the_form_of_a_cached_answer_is_made_once_and_counts(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made(TEXT)
    cache = app.served.response_cache
    asked(app, get("/kept"))
    before = cache.size
    one, *more = asked(app, *[get("/kept", EVERY)] * 3).answers
    (stored,) = cache._answers.values()
    assert stored.forms == {b"zstd": one.body}
    assert cache.size == before + len(one.body)
    monkeypatch.setattr(app.served.compression, "make", None)
    assert [answer.body for answer in more] == [one.body] * 2
    (again,) = asked(app, get("/kept", EVERY)).answers
    assert again.body == one.body
    assert again.fields["cache-status"].startswith("gateway; hit")


def test_an_answer_that_is_cached_just_now_keeps_its_form(made: Make) -> None:
    app = made(TEXT)
    (answer,) = asked(app, get("/kept", EVERY)).answers
    (stored,) = app.served.response_cache._answers.values()
    assert stored.forms == {b"zstd": answer.body}


class Later:
    """Compresses when the test says so."""

    def __init__(self, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.work: list[Any] = []
        monkeypatch.setattr(app.served.compression, "make", self.make)

    def make(self, coding: Any, body: bytes, done: Any) -> None:
        self.work.append((coding, body, done))

    def now(self) -> None:
        coding, body, done = self.work.pop(0)
        done(coding.of(body))


def test_others_get_an_answer_as_it_is_while_it_is_compressed(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made(TEXT)
    asked(app, get("/kept"))
    later = Later(app, monkeypatch)

    async def main() -> None:
        server = Server(app)
        first, second = server.client(), server.client()
        first.send(get("/kept", EVERY))
        await until(lambda: later.work)
        second.send(get("/kept", EVERY))
        await until(lambda: second.quiet)
        later.now()
        await until(lambda: first.quiet)
        (compressed,), (plain,) = first.answers, second.answers
        assert decoded(compressed.fields["content-encoding"], compressed.body) == plain.body
        assert "content-encoding" not in plain.fields
        assert later.work == []

    asyncio.run(main())


def test_a_client_that_leaves_while_its_answer_is_compressed_harms_no_one(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made(TEXT)
    asked(app, get("/kept"))
    later = Later(app, monkeypatch)

    async def main() -> None:
        server = Server(app)
        gone, other = server.client(), server.client()
        gone.send(get("/kept", EVERY))
        await until(lambda: later.work)
        gone.leave()
        later.now()
        other.send(get("/kept", EVERY))
        await until(lambda: other.quiet)
        assert other.answers[0].fields["content-encoding"] == "zstd"
        assert gone.received == b""

    asyncio.run(main())


def test_what_there_is_no_time_for_is_sent_as_it_is_and_tried_again(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made(TEXT)
    with monkeypatch.context() as busy:
        busy.setattr(app.served.compression, "make", lambda _, __, done: done(b""))
        (plain,) = asked(app, get("/kept", EVERY)).answers
    (answer,) = asked(app, get("/kept", EVERY)).answers
    assert "content-encoding" not in plain.fields
    assert answer.fields["content-encoding"] == "zstd"


def test_private_answers_beside_text_of_the_client_are_not_compressed(made: Make) -> None:
    token = "Authorization: Bearer x"
    app = made(TEXT)
    for path, fields, compressed in (
        ("/mine", [token], True),  # the client can put nothing into it
        ("/found", [token], False),
        ("/found?q=guess", [token], False),
        ("/found", [], True),  # nothing private is in it
    ):
        (answer,) = asked(app, get(path, EVERY, *fields)).answers
        assert ("content-encoding" in answer.fields) is compressed, path
        assert ("Accept-Encoding" in answer.fields["vary"]) is compressed
    app = made(f"web: {{compression: {{private: true}}}}\n{TEXT}")
    (answer,) = asked(app, get("/found", EVERY, token)).answers
    assert answer.fields["content-encoding"] == "zstd"


def test_a_private_stream_beside_text_of_the_client_is_not_compressed(made: Make) -> None:
    accept = "Accept: text/event-stream"
    app = made(TEXT)
    (answer,) = asked(app, get("/found", EVERY, accept, "Authorization: x")).answers
    assert "content-encoding" not in answer.fields
    (answer,) = asked(app, get("/found", EVERY, accept)).answers
    assert answer.fields["content-encoding"] == "gzip"


@pytest.mark.parametrize("media_type", ["text/event-stream", "application/jsonl"])
def test_each_event_of_a_stream_can_be_read_when_it_comes(
    made: Make, upstream: Any, media_type: str
) -> None:
    text = TEXT + '  two: {path: /two, sections: {x: {get: "a:/x/1"}, y: {get: "a:/held"}}}\n'

    async def main() -> None:
        go_on = asyncio.Event()

        async def held(_: Any) -> Any:
            import httpx

            await go_on.wait()
            return httpx.Response(200, json="late")

        upstream.get("/held").mock(side_effect=held)
        client = Server(made(text)).client()
        client.send(get("/two", EVERY, f"Accept: {media_type}"))
        await until(lambda: client.received[-2:] == b"\r\n" != client.received[-4:-2])
        reader = zlib.decompressobj(31)
        head, _, chunks = client.received.partition(b"\r\n\r\n")
        assert b"content-encoding: gzip" in head
        early = reader.decompress(chunk(chunks))
        assert b'"/x/1"' in early
        assert b"late" not in early
        go_on.set()
        await until(lambda: client.quiet)
        (answer,) = client.answers
        whole = decoded("gzip", answer.body)
        assert whole.startswith(early)
        assert b'"late"' in whole
        assert b"complete" in whole

    asyncio.run(main())


def chunk(chunks: bytes) -> bytes:
    """Return the first chunk of a content that is not complete."""
    size, _, rest = chunks.partition(b"\r\n")
    return rest[: int(size, 16)]


def test_a_live_stream_is_not_compressed(made: Make) -> None:
    live = 'd: {path: /live-one, live: {every: 1h}, sections: {x: {get: "a:/some"}}}'

    async def main() -> None:
        client = Server(made(f"{TEXT}  {live}\n")).client()
        client.send(get("/live-one", EVERY, "Accept: text/event-stream"))
        await until(lambda: b"event: complete" in client.received)
        assert b"content-encoding" not in client.received
        client.leave()

    asyncio.run(main())


def test_a_cached_stream_is_compressed_whole(made: Make) -> None:
    app = made(TEXT)
    accept = "Accept: application/jsonl"
    first, second, third = asked(app, *[get("/kept", EVERY, accept)] * 3).answers
    assert first.fields["content-encoding"] == "gzip"
    assert second.fields["content-encoding"] == third.fields["content-encoding"] == "zstd"
    assert decoded("zstd", third.body) == decoded("gzip", first.body)


def test_the_openapi_document_is_compressed_and_problems_are_not(made: Make) -> None:
    document, missing = asked(
        made(TEXT), get("/openapi.json", EVERY), get("/x" * 900, EVERY)
    ).answers
    assert document.fields["content-encoding"] == "zstd"
    assert json.loads(decoded("zstd", document.body))["openapi"]
    assert document.fields["vary"] == "Accept-Encoding"
    assert missing.status == 404
    assert "content-encoding" not in missing.fields


def test_compression_can_be_turned_off(made: Make) -> None:
    app = made(f"web: {{compression: false}}\n{TEXT}")
    for path in ("/some", "/openapi.json"):
        (answer,) = asked(app, get(path, EVERY)).answers
        assert "content-encoding" not in answer.fields
        assert "Accept-Encoding" not in answer.fields.get("vary", "")


def test_the_smallest_size_is_configured(made: Make) -> None:
    app = made(f"web: {{compression: {{min_size: 100KiB}}}}\n{TEXT}")
    some, large = asked(app, get("/some", EVERY), get("/large", EVERY)).answers
    assert "content-encoding" not in some.fields
    assert "content-encoding" in large.fields
