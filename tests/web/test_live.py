"""Live streams of one dashboard on virtual time."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.call import Request
from gateway.engine.execution import BoundPlan
from gateway.errors import UpstreamStatus
from gateway.plan.live import polled
from gateway.transport import Objections
from gateway.web.client_headers import ClientHeaders
from gateway.web.dashboard import DashboardEndpoint, Watching
from gateway.web.live import Live
from gateway.web.load_shedding import Admission
from gateway.web.meter import DashboardMeter
from tests.operations import target_of
from tests.planning import Upstreams, plan
from tests.streams import folded
from tests.virtual_time import loop_time, run
from tests.web.test_streaming import Received

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SSE = "text/event-stream"
TWO = plan(
    'x: {get: "a:/x"}\ny: {get: "a:/y/{user}"}', parameters="{user: {type: integer, default: 1}}"
)


class World:
    """A live dashboard, what its upstream says, and its clients."""

    def __init__(self, one: Any = TWO, **limits: int) -> None:
        self.values: dict[str, Any] = {}
        self.delay = 0.0
        self.upstreams = Upstreams(self.answer)
        self.live = Live(
            limits.get("clients", 1000), limits.get("polls", 100), loop_time, random=lambda: 0.0
        )
        calls = {"a": self.upstreams, "b": self.upstreams}
        self.endpoint = DashboardEndpoint(
            BoundPlan(one, calls, clock=loop_time),
            client_headers=ClientHeaders(forward={"a": [b"authorization"]}, propagate={}),
            admission=Admission(100_000, clock=loop_time, cpu=loop_time),
            response_cache=None,
            clock=loop_time,
            now=loop_time,
            objections=Objections(),
            busy=lambda: False,
            meter=DashboardMeter(),
            watching=Watching(self.live, BoundPlan(one, calls, clock=loop_time), 5.0),
        )
        self.work: dict[Received, Any] = {}

    async def answer(self, request: Request) -> Any:
        await asyncio.sleep(self.delay)
        value = self.values.get(target_of(request), 0)
        if isinstance(value, Exception):
            raise value
        return value

    def open(self, query: str = "", accept: str = SSE, **fields: str) -> Received:
        client = Received()
        sent = [(b"accept", accept.encode())]
        sent += [(k.replace("_", "-").encode(), v.encode()) for k, v in fields.items()]
        self.work[client] = self.endpoint.answer(
            "GET", b"/d", query.encode(), sent, (), client.respond, client.begin
        )
        return client

    def leave(self, client: Received) -> None:
        self.work[client].cancel()


def live(check: Callable[[World], Awaitable[None]], **options: Any) -> World:
    async def main() -> World:
        world = World(**options)
        await check(world)
        return world

    return run(main())


def names(client: Received, after: int = 0) -> list[str]:
    return [event.data.get("section", event.name) for event in client.events[after:]]


def test_a_stream_stays_open_and_gets_what_changes() -> None:
    async def check(world: World) -> None:
        client = world.open()
        await asyncio.sleep(1)
        assert names(client) == ["x", "y", "complete"]
        world.values["/y/1"] = 7
        await asyncio.sleep(5)
        assert names(client, 3) == ["y", "complete"]
        await asyncio.sleep(20)
        assert len(client.events) == 5
        assert not client.ended.is_set()
        document = world.open(accept="application/json")
        await document.ended.wait()
        assert folded(client.events) == json.loads(document.body)
        assert client.events[-1].identifier == document.fields["etag"]

    live(check)


def test_one_poll_serves_all_clients_and_makes_the_same_bytes() -> None:
    async def check(world: World) -> None:
        clients = [world.open() for _ in range(50)]
        await asyncio.sleep(1)
        assert (world.live.polls, world.live.clients, world.live.runs) == (1, 50, 1)
        assert len(world.upstreams.calls) == 2
        world.values["/x"] = 1
        await asyncio.sleep(8)
        assert world.live.runs == 2
        late = world.open()
        await asyncio.sleep(0)
        assert world.live.runs == 2
        assert folded(late.events) == folded(clients[0].events)
        last = clients[0].parts[-1][1]
        assert all(client.parts[-1][1] is last for client in clients)

    live(check)


def test_a_client_that_comes_while_the_first_version_is_made_shares_it() -> None:
    async def check(world: World) -> None:
        world.delay = 2
        first = world.open()
        await asyncio.sleep(1)
        second = world.open()
        await asyncio.sleep(2)
        assert folded(first.events) == folded(second.events)
        assert len(world.upstreams.calls) == 2

    live(check)


def test_a_section_is_sent_when_it_lands_also_to_those_who_came_meanwhile() -> None:
    async def check(world: World) -> None:
        async def answer(request: Request) -> Any:
            await asyncio.sleep(1 if target_of(request) == "/x" else 3)

        world.upstreams._answer = answer
        first = world.open()
        await asyncio.sleep(2)
        second = world.open()
        assert names(first) == names(second) == ["x"]
        await asyncio.sleep(2)
        assert names(first) == names(second) == ["x", "y", "complete"]

    live(check)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"query": "user=1"}, {"query": "user=2"}),
        ({"query": f"user={10**30}"}, {"query": f"user={10**30 + 1}"}),
        ({"query": "sections=x"}, {"query": "sections=y"}),
        ({"query": ""}, {"query": "sections=y"}),
        ({"authorization": "ada"}, {"authorization": "ben"}),
        ({"authorization": "ada"}, {}),
    ],
)
def test_what_differs_is_not_shared(one: dict[str, str], other: dict[str, str]) -> None:
    async def check(world: World) -> None:
        for asked in (one, other, one):
            world.open(**asked)
        await asyncio.sleep(1)
        assert (world.live.polls, world.live.clients) == (2, 3)

    live(check)


def test_the_same_asked_in_another_way_is_shared() -> None:
    async def check(world: World) -> None:
        for query in ("", "user=1", "other=2", "sections=x,y", "sections=y&sections=x"):
            world.open(query)
        world.open(accept="application/jsonl")
        await asyncio.sleep(1)
        assert (world.live.polls, world.live.clients) == (1, 6)

    live(check)


@pytest.mark.parametrize("kind", ["integer", "number"])
def test_a_parameter_of_more_than_64_bits_is_watched(kind: str) -> None:
    one = plan('y: {get: "a:/y/{user}"}', parameters=f"{{user: {{type: {kind}, default: 1}}}}")

    async def check(world: World) -> None:
        clients = [world.open(f"user={10**22}") for _ in range(2)]
        await asyncio.sleep(1)
        assert [client.status for client in clients] == [200, 200]
        assert (world.live.polls, world.live.clients) == (1, 2)
        assert world.endpoint.meter.statuses == {200: 2}

    live(check, one=one)


def test_lists_are_told_apart_by_what_is_in_them() -> None:
    user = "{type: array, items: {type: number}, default: [1]}"
    one = plan('y: {get: "a:/y?user={user}"}', parameters=f"{{user: {user}}}")

    async def check(world: World) -> None:
        for query in ("", "user=1", "user=1&user=2", "user=2&user=1", "user=1&user=2"):
            world.open(query)
        await asyncio.sleep(1)
        assert world.live.clients == 5
        assert world.live.polls == 3

    live(check, one=one)


def test_a_defect_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(world: World) -> None:
        def defect(*_: Any) -> None:
            raise RuntimeError

        with monkeypatch.context() as patched:
            patched.setattr("gateway.web.live._key", defect)
            client = world.open()
        await asyncio.sleep(1)
        assert client.status == 500
        assert world.endpoint.meter.statuses == {500: 1}
        assert world.live.clients == 0

    live(check)


def test_a_slow_client_skips_versions_and_gets_the_latest() -> None:
    async def check(world: World) -> None:
        slow, quick = world.open(), world.open()
        await asyncio.sleep(1)
        slow.paused = True
        for number in range(1, 5):
            world.values["/x"] = number
            await asyncio.sleep(5)
        world.values["/y/1"] = 9
        await asyncio.sleep(5)
        assert len(slow.parts) == 3  # as when it stopped reading
        assert names(quick, 3) == [*["x", "complete"] * 4, "y", "complete"]
        slow.paused = False
        slow.resumed()
        assert names(slow, 3) == ["x", "y", "complete"]
        assert folded(slow.events) == folded(quick.events)
        slow.resumed()
        assert len(names(slow)) == 6

    live(check)


def test_the_version_that_a_client_has_is_not_sent_again() -> None:
    async def check(world: World) -> None:
        first = world.open()
        await asyncio.sleep(1)
        tag = first.events[-1].identifier
        again = world.open(last_event_id=tag)
        old = world.open(last_event_id='W/"old"')
        assert (again.status, names(again), names(old)) == (200, [], ["x", "y", "complete"])
        world.leave(first)
        world.leave(again)
        world.leave(old)
        restarted = world.open(last_event_id=tag)  # its poll has to find out first
        await asyncio.sleep(1)
        assert (restarted.status, names(restarted)) == (200, [])
        world.values["/x"] = 1
        await asyncio.sleep(5)
        assert names(restarted) == ["x", "complete"]

    live(check)


def test_the_poll_stops_with_its_last_client() -> None:
    async def check(world: World) -> None:
        one, other = world.open(), world.open()
        await asyncio.sleep(1)
        world.leave(one)
        await asyncio.sleep(10)
        assert world.live.runs == 3
        world.leave(other)
        assert (world.live.polls, world.live.clients) == (0, 0)
        await asyncio.sleep(60)
        assert world.live.runs == 3

    live(check)


def test_a_client_that_leaves_before_its_first_version_cancels_the_calls() -> None:
    async def check(world: World) -> None:
        world.delay = 3
        client = world.open()
        await asyncio.sleep(1)
        world.leave(client)
        await world.live.aclose()
        assert sorted(world.upstreams.cancelled) == ["/x", "/y/1"]
        assert (world.live.polls, world.live.clients) == (0, 0)

    live(check)


NEEDED = plan('y: {get: "a:/y", required: true}\nx: {get: "a:/x"}')


def test_a_poll_that_fails_changes_nothing_and_the_next_goes_on() -> None:
    async def check(world: World) -> None:
        client = world.open()
        await asyncio.sleep(1)
        world.values |= {"/y": UpstreamStatus("gone", upstream="a", status=404), "/x": 5}
        await asyncio.sleep(10)
        assert len(client.events) == 3
        newcomer = world.open()
        await asyncio.sleep(1)
        assert (newcomer.status, newcomer.streamed) == (404, False)
        assert world.live.clients == 1
        world.values["/y"] = 1
        await asyncio.sleep(5)
        assert names(client, 3) == ["y", "x", "complete"]

    live(check, one=NEEDED)


def test_a_first_poll_that_fails_is_answered_with_its_status_and_forgotten() -> None:
    async def check(world: World) -> None:
        world.values["/y"] = UpstreamStatus("gone", upstream="a", status=404)
        clients = [world.open(), world.open(accept="application/jsonl")]
        await asyncio.sleep(1)
        assert {(client.status, client.streamed) for client in clients} == {(404, False)}
        assert (world.live.polls, world.live.clients) == (0, 0)
        assert world.endpoint.meter.statuses == {404: 2}

    live(check, one=NEEDED)


def test_clients_beyond_the_limits_get_503_and_when_to_come_back() -> None:
    async def check(world: World) -> None:
        opened = [world.open(f"user={user}") for user in (1, 2, 3, 1, 1)]
        await asyncio.sleep(1)
        assert [client.status for client in opened] == [200, 200, 503, 200, 503]
        assert opened[2].fields["retry-after"] == "5"
        assert b"2 live streams" in opened[2].body
        assert b"3 live clients" in opened[4].body
        world.leave(opened[0])
        await asyncio.sleep(1)
        assert world.open("user=1").status == 200

    live(check, clients=3, polls=2)


def test_a_silent_stream_has_heartbeats_and_a_client_that_does_not_read_gets_none() -> None:
    async def check(world: World) -> None:
        client, lines, deaf = world.open(), world.open(accept="application/jsonl"), world.open()
        await asyncio.sleep(1)
        before = len(deaf.parts)
        deaf.paused = True
        await asyncio.sleep(31)
        assert [part for _, part in client.parts[-2:]] == [b":\n\n"] * 2
        assert [part for _, part in lines.parts[-2:]] == [b"\n"] * 2
        assert len(deaf.parts) == before
        world.values["/x"] = 1
        await asyncio.sleep(13)
        assert client.parts[-1][1] != b":\n\n"  # a change is news enough

    live(check)


def test_streams_end_whole_and_those_that_still_come_end_when_complete() -> None:
    async def check(world: World) -> None:
        clients = [world.open() for _ in range(1000)]
        await asyncio.sleep(1)
        world.live.end()
        await asyncio.sleep(0.1)
        assert all(client.ended.is_set() for client in clients)
        assert (world.live.polls, world.live.clients) == (0, 0)
        late = world.open()
        await asyncio.sleep(1)
        assert late.ended.is_set()
        assert names(late) == ["x", "y", "complete"]
        assert b"retry: 1000\n\n" in late.body
        assert (world.live.polls, world.live.clients) == (0, 0)

    live(check)


def test_clients_are_written_to_in_turns_of_the_loop() -> None:
    async def check(world: World) -> None:
        clients = [world.open() for _ in range(1000)]
        await asyncio.sleep(1)
        reached: list[int] = []
        loop, write = asyncio.get_running_loop(), clients[0].write

        def turn() -> None:
            reached.append(sum(b'"data":1,' in client.body for client in clients))
            if reached[-1] < 1000 and len(reached) < 20:
                loop.call_soon(turn)

        def first(data: bytes) -> None:
            write(data)
            loop.call_soon(turn)

        clients[0].write = first  # type: ignore[method-assign]
        world.values["/x"] = 1
        await asyncio.sleep(5)
        assert reached == [200, 400, 600, 800, 1000]

    live(check)


def test_head_of_a_live_dashboard_ends() -> None:
    async def check(world: World) -> None:
        client = Received()
        sent = [(b"accept", SSE.encode())]
        world.endpoint.answer("HEAD", b"/d", b"", sent, (), client.respond, client.begin)
        await client.ended.wait()
        assert (client.status, client.body) == (200, b"")
        assert world.live.clients == 0

    live(check)


def test_polls_are_jittered_and_never_more_often_than_declared() -> None:
    async def main() -> list[float]:
        world = World()
        world.live.random = lambda: 0.5
        world.open()
        await asyncio.sleep(18)
        return [at for at, target in world.upstreams.calls if target == "/x"]

    assert run(main()) == pytest.approx([0, 5.25, 10.5, 15.75])


def test_sections_without_a_cache_have_one_for_polls() -> None:
    mixed = plan('x: {get: "a:/x"}\ny: {get: "b:/y"}\nz: {get: "a:/z", cache: {ttl: 1h}}')
    found = polled(mixed, 10.0, {"b"})
    policies = [section.cache for section in found.sections]
    assert policies[0] is not None
    assert (policies[0].ttl, policies[0].jitter, policies[0].early_refresh) == (5, 0, 0)
    assert policies[1] is None
    assert policies[2] is mixed.sections[2].cache


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["/x", "/y/1"]),
        st.sampled_from([0, 1, {"n": 2}, UpstreamStatus("no", upstream="a", status=503)]),
        st.sampled_from(["reads", "deaf", "new", "old"]),
    ),
    max_size=8,
)


@pytest.mark.no_cover
@settings(max_examples=60)
@given(steps=STEPS)
def test_whatever_changes_every_client_comes_to_fold_the_document(steps: list[Any]) -> None:
    async def check(world: World) -> None:
        clients = [world.open(), world.open()]
        slow = clients[1]
        for target, value, what in steps:
            await asyncio.sleep(5)
            world.values[target] = value
            slow.paused = what == "deaf"
            if not slow.paused and slow.resumed is not None:
                slow.resumed()
            if what == "new":
                clients.append(world.open(accept="application/jsonl"))
        await asyncio.sleep(11)
        slow.paused = False
        slow.resumed()
        document = world.open(accept="application/json")
        await document.ended.wait()
        for client in clients:
            assert folded(client.events) == json.loads(document.body)

    live(check)
