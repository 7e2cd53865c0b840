from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from gateway.mock import CONTRACTS, Knobs, create_mock_app

PATHS = [
    "/users/1",
    "/posts/1",
    "/comments/1",
    "/v1/forecast?latitude=1&longitude=1",
    "/v1/search?name=Rome",
]


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://mock")


class Sleeps(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def drawn(*values: float) -> Callable[[], float]:
    values_left: Iterator[float] = iter(values)
    return lambda: next(values_left)


async def test_every_contract_answers_on_one_port() -> None:
    async with client(create_mock_app()) as mock:
        answers = [await mock.get(path) for path in PATHS]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert {answer.headers["content-type"] for answer in answers} == {
        "application/json; charset=utf-8"
    }


async def test_the_index_lists_what_is_served_and_all_of_it_answers() -> None:
    async with client(create_mock_app()) as mock:
        index = (await mock.get("/")).json()
        assert index["contracts"] == dict(CONTRACTS)
        for path in index["try"]:
            assert (await mock.get(path)).status_code == 200, path


async def test_it_tells_its_health_whatever_its_knobs() -> None:
    sleeps = Sleeps()
    knobs = Knobs.parse(["users=1s"], ["users=1"])
    async with client(create_mock_app(knobs, sleep=sleeps)) as mock:
        assert (await mock.get("/healthz")).json() == {"status": "ok"}
    assert sleeps == []


async def test_calls_are_counted_by_contract() -> None:
    async with client(create_mock_app()) as mock:
        for path in ("/users/1", "/users/99", "/users/1/posts", "/v1/search?name=x", "/nothing"):
            await mock.get(path)
        calls = (await mock.get("/__calls")).json()
    assert calls == {"users": 2, "posts": 1, "comments": 0, "weather": 0, "geocoding": 1}


async def test_injected_failures_are_counted_as_calls() -> None:
    async with client(create_mock_app(Knobs(fail={"users": 1.0}))) as mock:
        await mock.get("/users/1")
        assert (await mock.get("/__calls")).json()["users"] == 1


async def test_each_application_counts_for_itself() -> None:
    async with client(create_mock_app()) as one, client(create_mock_app()) as other:
        await one.get("/users")
        assert (await other.get("/__calls")).json()["users"] == 0


async def test_latency_is_slept_by_contract_and_only_there() -> None:
    sleeps = Sleeps()
    knobs = Knobs.parse(["users=200ms", "posts=1s", "comments=2s"])
    async with client(create_mock_app(knobs, sleep=sleeps)) as mock:
        for path in ("/users/1", "/posts/1", "/posts/1/comments", "/v1/search?name=Rome"):
            await mock.get(path)
    assert sleeps == [0.2, 1.0, 2.0]


async def test_a_failure_is_503_after_the_latency() -> None:
    sleeps = Sleeps()
    knobs = Knobs.parse(["weather=50ms"], ["weather=1.0"])
    async with client(create_mock_app(knobs, sleep=sleeps)) as mock:
        answer = await mock.get("/v1/forecast?latitude=1&longitude=1")
        assert (await mock.get("/users/1")).status_code == 200
    assert answer.status_code == 503
    assert answer.json() == {"error": "weather failed: the mock injects failures"}
    assert sleeps == [0.05]


async def test_a_request_fails_when_the_draw_is_below_the_rate() -> None:
    app = create_mock_app(Knobs.parse(fail=["users=0.2"]), random=drawn(0.19, 0.2, 0.9, 0.0))
    async with client(app) as mock:
        statuses = [(await mock.get("/users/1")).status_code for _ in range(4)]
    assert statuses == [503, 200, 200, 503]


async def test_nothing_is_drawn_for_a_contract_that_never_fails() -> None:
    knobs = Knobs.parse(["posts=1ms"], ["users=0.5"])
    async with client(create_mock_app(knobs, sleep=Sleeps(), random=drawn())) as mock:
        assert (await mock.get("/posts/1")).status_code == 200


async def test_failures_repeat_from_run_to_run() -> None:
    async def statuses() -> list[int]:
        async with client(create_mock_app(Knobs.parse(fail=["users=0.5"]))) as mock:
            return [(await mock.get("/users/1")).status_code for _ in range(30)]

    assert await statuses() == await statuses()
    assert set(await statuses()) == {200, 503}


async def test_two_applications_answer_the_same_bytes() -> None:
    async with client(create_mock_app()) as one, client(create_mock_app()) as other:
        for path in [*PATHS, "/users", "/posts?_limit=3", "/comments", "/"]:
            assert (await one.get(path)).content == (await other.get(path)).content
            assert (await one.get(path)).headers == (await other.get(path)).headers


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_not_allowed(method: str) -> None:
    async with client(create_mock_app()) as mock:
        answer = await mock.request(method, "/users/1")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"


async def test_an_unknown_path_is_404_json() -> None:
    async with client(create_mock_app()) as mock:
        answer = await mock.get("/v1/kittens")
    assert (answer.status_code, answer.json()) == (404, {})


async def test_it_speaks_http_only() -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(NotImplementedError, match="lifespan"):
        await create_mock_app()({"type": "lifespan"}, never, never)
