from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import pytest

from gateway.aio.byte_budget import ByteBudget
from gateway.call import Deadline, Request
from gateway.errors import (
    CallError,
    DependencyFailed,
    UpstreamPayload,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.transport import AnswerTooLarge, InflatedTooLarge, Origin, RawAnswer
from gateway.upstreams.http.call import HttpCall
from gateway.upstreams.http.decode import Decoder
from gateway.upstreams.http.operation import HttpOperation

ORIGIN = Origin.of("http://up.test", [(b"x-constant", b"1")])


class Wire:
    """An Exchange that answers or raises what it was told."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.sent: list[tuple[Any, ...]] = []

    async def exchange(self, *sent: Any, timeout: float | None = None) -> RawAnswer:
        self.sent.append(sent)
        if isinstance(self.result, Exception):
            raise self.result
        answer: RawAnswer = self.result
        return answer

    async def aclose(self) -> None:
        pass


def request() -> Request:
    return Request(HttpOperation("/a?b=c", "GET", [(b"authorization", b"x")]), Deadline(1e9), "s")


async def test_sends_method_target_and_headers_below_the_prefix() -> None:
    wire = Wire(RawAnswer(200, [], b"1"))
    call = HttpCall(
        wire,
        ORIGIN,
        Decoder("up", max_depth=8),
        upstream="up",
        prefix="/v1",
        mocked=lambda: Wire(None),
    )
    assert (await call(request())).value == 1
    assert wire.sent == [(ORIGIN, "GET", b"/v1/a?b=c", [(b"authorization", b"x")])]


async def test_what_the_client_says_itself_is_not_said_twice() -> None:
    wire = Wire(RawAnswer(200, [], b"1"))
    call = HttpCall(
        wire, ORIGIN, Decoder("up", max_depth=8), upstream="up", mocked=lambda: Wire(None),
        defaults=[(b"accept", b"application/json"), (b"authorization", b"none")],
    )  # fmt: skip
    await call(request())
    assert wire.sent[0][3] == [(b"accept", b"application/json"), (b"authorization", b"x")]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (httpx.ConnectTimeout(""), UpstreamTimeout),
        (httpx.PoolTimeout(""), UpstreamTimeout),
        (httpx.ReadTimeout(""), UpstreamTimeout),
        (httpx.WriteTimeout(""), UpstreamTimeout),
        (httpx.ConnectError(""), UpstreamUnreachable),
        (httpx.ReadError(""), UpstreamUnreachable),
        (httpx.RemoteProtocolError(""), UpstreamUnreachable),
        (httpx.LocalProtocolError(""), DependencyFailed),
        (httpx.DecodingError(""), UpstreamPayload),
        (AnswerTooLarge(""), UpstreamPayload),
        (InflatedTooLarge(""), UpstreamPayload),
    ],
)
async def test_every_httpx_error_becomes_one_of_ours(
    theirs: Exception, ours: type[CallError]
) -> None:
    call = HttpCall(
        Wire(theirs), ORIGIN, Decoder("up", max_depth=8), upstream="up", mocked=lambda: Wire(None)
    )
    with pytest.raises(ours) as caught:
        await call(request())
    assert type(caught.value) is ours
    assert caught.value.upstream == "up"


async def test_what_the_transport_said_is_kept_for_the_log_and_out_of_the_detail() -> None:
    wire = Wire(httpx.ConnectError("[Errno 111] Connect call failed\n('10.0.0.7', 80)"))
    call = HttpCall(
        wire, ORIGIN, Decoder("up", max_depth=8), upstream="up", mocked=lambda: Wire(None)
    )
    with pytest.raises(UpstreamUnreachable) as caught:
        await call(request())
    assert caught.value.detail == "the connection failed"
    assert caught.value.cause == r"[Errno 111] Connect call failed\n('10.0.0.7', 80)"


JSON = [(b"content-type", b"application/json")]


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (RawAnswer(503, [], b"no room\nat the inn"), UpstreamStatus, r"no room\nat the inn"),
        (RawAnswer(404, JSON, b'{"error": "gone"}'), UpstreamStatus, '{"error": "gone"}'),
        (RawAnswer(500, [], b""), UpstreamStatus, ""),
        (
            RawAnswer(200, [(b"content-type", b"text/html")], b"<html>"),
            UpstreamPayload,
            "<html>",
        ),
        (RawAnswer(200, JSON, b"{'a': 1}"), UpstreamPayload, "{'a': 1}"),
        (RawAnswer(502, [], b"x" * 600), UpstreamStatus, "x" * 511 + "…"),
    ],
)
@pytest.mark.parametrize("expose", [False, True])
async def test_an_excerpt_of_a_bad_answer_is_on_the_error(
    answer: RawAnswer, error: type[CallError], said: str, expose: bool
) -> None:
    call = HttpCall(
        Wire(answer), ORIGIN, Decoder("up", max_depth=8), upstream="up", mocked=lambda: Wire(None),
        expose_errors=expose,
    )  # fmt: skip
    with pytest.raises(error) as caught:
        await call(request())
    assert caught.value.excerpt == said
    if said:
        assert caught.value.detail.endswith(f": {said}") is expose


async def test_a_bug_is_no_call_error() -> None:
    wire = Wire(RuntimeError("bug"))
    call = HttpCall(
        wire, ORIGIN, Decoder("up", max_depth=8), upstream="up", mocked=lambda: Wire(None)
    )
    with pytest.raises(RuntimeError):
        await call(request())


@pytest.mark.parametrize(("left", "said"), [(3.0, b"3000"), (2.5, b"2500"), (0.0004, b"1")])
async def test_the_deadline_is_propagated_as_late_as_can_be(left: float, said: bytes) -> None:
    """Rounded down, but never to nothing."""
    wire = Wire(RawAnswer(200, [], b"1"))
    call = HttpCall(
        wire, ORIGIN, Decoder("up", max_depth=8), upstream="up", mocked=lambda: Wire(None),
        deadline_header="X-Request-Timeout-Ms", clock=lambda: 100.0 - left,
    )  # fmt: skip
    asked = Request(HttpOperation("/", "GET", ((b"accept-language", b"de"),)), Deadline(100.0))
    await call(asked)
    assert wire.sent[0][3] == ((b"accept-language", b"de"), (b"x-request-timeout-ms", said))
    await call(asked.again(2))  # each attempt sends the current value
    assert wire.sent[1][3] == wire.sent[0][3]


@pytest.mark.parametrize("body", [b"1", b"no JSON"])
async def test_memory_that_an_answer_was_inflated_into_is_given_back_once_it_is_decoded(
    body: bytes,
) -> None:
    budget = ByteBudget(10)
    answer = RawAnswer(200, [], body)
    answer.hold = await budget.hold("up").fill(10)
    call = HttpCall(
        Wire(answer), ORIGIN, Decoder("up", max_depth=8), upstream="up", mocked=lambda: Wire(None)
    )
    with suppress(UpstreamPayload):
        await call(request())
    assert budget.used == 0
