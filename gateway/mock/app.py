"""The mock upstreams as one plain ASGI application, fast enough to benchmark against."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from random import Random
from types import MappingProxyType
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.mock.answer import Answer, json_answer
from gateway.mock.forecast import Forecast
from gateway.mock.geocoding import Geocoding
from gateway.mock.jsonplaceholder import JsonPlaceholder
from gateway.mock.knobs import NAMES, Knobs

CONTRACTS: Mapping[str, str] = MappingProxyType(
    {
        "/users": "users",
        "/posts": "posts",
        "/comments": "comments",
        "/v1/forecast": "weather",
        "/v1/search": "geocoding",
    }
)
"""The contract of each path prefix."""

_CACHED_ANSWERS = 1024
_EXAMPLES = (
    "/users/1",
    "/users/1/posts",
    "/posts?userId=1&_limit=5",
    "/posts?id=1&id=2",
    "/posts/1/comments",
    "/comments?postId=3",
    "/v1/forecast?latitude=51.5&longitude=-0.12&current=temperature_2m,wind_speed_10m",
    "/v1/search?name=London&count=1",
    "/healthz",
    "/__calls",
)


class _Fault(NamedTuple):
    latency: float
    fail: float
    failure: Answer


def create_mock_app(
    knobs: Knobs | None = None,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    random: Callable[[], float] | None = None,
) -> ASGIApp:
    """Create the mock upstreams, with the faults that `knobs` configures.

    Args:
        knobs: the latency and failure rate of each contract; by default none.
        sleep: waits for some seconds.
        random: returns a number in [0, 1), called for each request of a contract that may fail, in
            order of arrival; by default a generator with seed 0, so that runs are repeatable.

    `GET /__calls` returns how often each contract was called, injected failures included, which
    shows the calls saved by a cache or by batching.
    """
    knobs = Knobs() if knobs is None else knobs
    draw = Random(0).random if random is None else random  # noqa: S311 - faults are no secret
    answer_to = lru_cache(_CACHED_ANSWERS)(_router())
    calls = dict.fromkeys(NAMES, 0)
    faults = {
        name: _Fault(knobs.latency_of(name), knobs.fail_of(name), _failure(name))
        for name in NAMES
        if knobs.latency_of(name) or knobs.fail_of(name)
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
        if scope["type"] != "http":
            raise NotImplementedError(f"the mock speaks HTTP only, not {scope['type']}")
        path: str = scope["path"]
        if scope["method"] != "GET":
            answer = _ONLY_GET
        elif path == "/__calls":
            answer = json_answer(calls)
        else:
            contract, answer = answer_to(path, scope["query_string"])
            if contract is not None:
                calls[contract] += 1
                if (fault := faults.get(contract)) is not None:
                    if fault.fail and draw() < fault.fail:
                        answer = fault.failure
                    if fault.latency:
                        await sleep(fault.latency)
        await send(answer.start)
        await send(answer.body)

    return app


_ONLY_GET = json_answer(
    {"error": "the mock upstreams answer GET only"}, status=405, headers=((b"allow", b"GET"),)
)


def _router() -> Callable[[str, bytes], tuple[str | None, Answer]]:
    placeholder, forecast, geocoding = JsonPlaceholder(), Forecast(), Geocoding()
    healthy = json_answer({"status": "ok"})
    index = json_answer({"contracts": dict(CONTRACTS), "try": _EXAMPLES}, indent=True)

    def route(path: str, query: bytes) -> tuple[str | None, Answer]:
        match path:
            case "/v1/forecast":
                return "weather", forecast.answer(query)
            case "/v1/search":
                return "geocoding", geocoding.answer(query)
            case "/":
                return None, index
            case "/healthz":
                return None, healthy
            case _:
                return placeholder.answer(path, query)

    return route


def _failure(name: str) -> Answer:
    return json_answer({"error": f"{name} failed: the mock injects failures"}, status=503)
