"""Streams of one endpoint on virtual time: folding them gives the document."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.answers.encodings import ENCODINGS
from gateway.call import Request, Response
from gateway.engine.execution import BoundPlan
from gateway.errors import LimiterFull, UpstreamPayload, UpstreamStatus
from gateway.transport import Objections
from gateway.values.provenance import Provenance
from gateway.web.client_headers import ClientHeaders
from gateway.web.dashboard import DashboardEndpoint
from gateway.web.load_shedding import Admission
from gateway.web.meter import DashboardMeter
from tests.operations import target_of
from tests.planning import Upstreams, after, plan
from tests.streams import Event, folded, parsed
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from gateway.plan.model import Plan
    from gateway.web.fields import Fields

MEDIA_TYPES = [one.media_type.decode() for one in ENCODINGS]
SSE = "text/event-stream"
PARAMETERS = "{ids: {type: array, items: {type: integer}, default: [1, 2, 3, 2]}}"


class Received:
    """What a client receives; the outlet of a stream."""

    def __init__(self) -> None:
        self.status = 0
        self.fields: dict[str, str] = {}
        self.parts: list[tuple[float, bytes]] = []
        self.streamed = False
        self.ended = asyncio.Event()
        self.paused = False
        self.resumed: Any = None

    def respond(self, status: int, fields: Fields, body: bytes) -> None:
        self.begin(status, fields, body)
        self.streamed = False
        self.end()

    def begin(self, status: int, fields: Fields, data: bytes) -> Received:
        assert not self.status, "two answers"
        self.status = status
        self.fields = {name.decode(): value.decode() for name, value in fields}
        self.streamed = True
        self.write(data)
        return self

    def write(self, data: bytes) -> None:
        assert not self.ended.is_set(), "written after the end"
        self.parts.append((round(loop_time() - 1000, 3), data))

    def end(self, data: bytes = b"") -> None:
        self.write(data)
        self.ended.set()

    @property
    def body(self) -> bytes:
        return b"".join(part for _, part in self.parts)

    @property
    def events(self) -> list[Event]:
        return parsed(self.fields["content-type"], self.body)


def endpoint(one: Plan, upstreams: Upstreams) -> DashboardEndpoint:
    return DashboardEndpoint(
        BoundPlan(one, {"a": upstreams, "b": upstreams}, clock=loop_time),
        client_headers=ClientHeaders(forward={}, propagate={}),
        admission=Admission(100, clock=loop_time, cpu=loop_time),
        response_cache=None,
        clock=loop_time,
        now=loop_time,
        objections=Objections(),
        busy=lambda: False,
        meter=DashboardMeter(),
    )


def received(
    one: Plan, upstreams: Upstreams, accept: str = "", method: str = "GET", **fields: str
) -> Received:
    """Ask one plan for an answer in the form that `accept` names."""

    async def main() -> Received:
        client = Received()
        asked = {"accept": accept, **fields}
        sent = [(k.replace("_", "-").encode(), v.encode()) for k, v in asked.items() if v]
        tasks = len(asyncio.all_tasks())
        endpoint(one, upstreams).answer(method, b"/d", b"", sent, (), client.respond, client.begin)
        await client.ended.wait()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == tasks, "a task outlived the answer"
        return client

    return run(main())


# The law


def behaviour(result: str, target: str) -> Any:
    if result in {"503", "404"}:
        return UpstreamStatus("no", upstream="a", status=int(result))
    if result == "full":
        return LimiterFull("full", upstream="a", shed=True)
    if result == "bad":
        return UpstreamPayload("bad", upstream="a")
    value: Any = {"v": zlib.crc32(target.encode()) % 5, "n": 2**70 if result == "unsound" else 1}
    value["items"] = [{"id": n % 3} for n in range(value["v"])]
    if "?" in target:
        value = [{"id": int(part[3:])} for part in target.partition("?")[2].split("&")]
    provenance = Provenance(as_of=5.0, stale=True) if result == "stale" else Provenance()
    body = b"{}" if result == "unsound" else orjson.dumps(value)
    return Response(value, body=body, provenance=provenance)


@st.composite
def sections(draw: st.DrawFn) -> str:
    lines: list[str] = []
    lists: list[int] = []
    for n in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["one", "one", "one", "list", "keyed", "batch", "follow"]))
        before = draw(st.sampled_from([None, *(m for m in range(n) if m not in lists)]))
        keys = called(kind, n, before, draw(st.sampled_from([None, *lists])))
        if kind != "one":
            lists.append(n)
        for key, chance in (("required: true", 5), ("hidden: true", 5), ("fallback: 7", 4),
                            ('when: "`false`"', 8), ('select: "@"', 2)):  # fmt: skip
            if draw(st.integers(1, chance)) == 1:
                keys.append(key)
        lines.append(f"s{n}: {{{', '.join(keys)}}}")
    return "\n".join(lines)


def called(kind: str, n: int, before: int | None, leader: int | None) -> list[str]:
    """Return the keys that make section `n` call its upstream."""
    if kind == "one":
        return [f'get: "a:/{n}"' if before is None else f'get: "a:/{n}/{{s{before}.v}}"']
    if kind == "batch":
        return ['for_each: {in: "{ids}", as: e, batch: 2}', f'get: "a:/{n}?id={{e}}"']
    if kind == "follow" and leader is not None:
        return [f'for_each: {{in: "{{s{leader}}}", as: e}}', f'get: "a:/{n}/{{e.v}}"']
    if kind == "keyed" and before is not None:
        each = f'{{in: "{{s{before}.items}}", as: e, key: id, limit: 2}}'
        return [f"for_each: {each}", f'get: "a:/{n}/{{e.id}}"']
    key = ', key: "@"' if kind == "keyed" else ""
    return [f'for_each: {{in: "{{ids}}", as: e{key}}}', f'get: "a:/{n}/{{e}}"']


BEHAVIOURS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.01, 0.01, 0.5, 20.0]),
        st.sampled_from(["ok"] * 4 + ["stale", "503", "404", "full", "bad", "unsound"]),
    ),
    min_size=8,
    max_size=8,
)


@pytest.mark.no_cover
@settings(max_examples=150)
@given(text=sections(), behaviours=BEHAVIOURS, media_type=st.sampled_from(MEDIA_TYPES))
def test_folding_the_events_gives_the_document(
    text: str, behaviours: list[tuple[float, str]], media_type: str
) -> None:
    one = plan(text, parameters=PARAMETERS, deadline="3s")

    async def answer(request: Request) -> Any:
        target = target_of(request)
        delay, result = behaviours[zlib.crc32(target.encode()) % len(behaviours)]
        await asyncio.sleep(delay)
        value = behaviour(result, target)
        if isinstance(value, Exception):
            raise value
        return value

    document = received(one, Upstreams(answer))
    stream = received(one, Upstreams(answer), media_type)
    if not stream.streamed:  # it failed before anything had landed
        assert (stream.status, stream.body) == (document.status, document.body)
        return
    assert stream.status == 200
    events = stream.events
    # Compared as text: the order of sections is the document's too.
    assert json.dumps(folded(events)) == json.dumps(json.loads(document.body))
    assert events[-1].name == ("complete" if document.status == 200 else "problem")
    hidden = {section.name for section in one.sections if section.hidden}
    assert not hidden & {event.data.get("section") for event in events}
    if media_type == SSE and document.status == 200:
        assert events[-1].identifier == document.fields["etag"]
        assert not any(event.identifier for event in events[:-1])


# One by one

THREE = plan('slow: {get: "a:/3"}\nfast: {get: "a:/1"}\nlast: {get: "a:/1/{fast.n}"}')


async def tenths(request: Request) -> Any:
    await asyncio.sleep(int(target_of(request).split("/")[1]) / 10)
    return {"n": 1}


def test_each_section_is_sent_when_it_lands_and_the_last_with_the_end() -> None:
    stream = received(THREE, Upstreams(tenths), SSE)
    assert [(at, [event.name for event in parsed(SSE, part)]) for at, part in stream.parts] == [
        (0.1, ["section"]), (0.2, ["section"]), (0.3, ["section"]), (0.3, ["complete"]),
    ]  # fmt: skip
    assert [event.data["section"] for event in stream.events[:3]] == ["fast", "last", "slow"]
    assert stream.fields == {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
        "vary": "accept",
        "x-content-type-options": "nosniff",
    }


def test_events_have_the_documented_bytes() -> None:
    one = plan(
        'x: {get: "a:/1"}\ny: {for_each: "{ids}", get: "a:/2/{item}"}', parameters=PARAMETERS
    )

    async def answer(request: Request) -> Any:
        target = target_of(request)
        if target == "/2/2":
            raise UpstreamStatus("no", upstream="a", status=500)
        return target

    fault = (
        b'{"section":"y","code":"upstream_status","upstream":"a","status":500,"retryable":true,'
        b'"detail":"no","element":%d}'
    )
    body = received(one, Upstreams(answer), SSE).body
    assert (
        b'event: section\ndata: {"section":"x","data":"/1","meta":{"state":"ok"},"errors":[]}\n\n'
        in body
    )
    assert (
        b'event: element\ndata: {"section":"y","index":0,"data":"/2/1","meta":{"state":"ok"},'
        b'"errors":[]}\n\n' in body
    )
    assert (
        b'event: element\ndata: {"section":"y","index":1,"data":null,"meta":{"state":"failed"},'
        b'"errors":[%b]}\n\n' % (fault % 1) in body
    )
    assert (
        b'event: section\ndata: {"section":"y","data":["/2/1",null,"/2/3",null],'
        b'"meta":{"state":"ok"},"errors":[%b,%b]}\n\n' % (fault % 1, fault % 3) in body
    )
    lines = received(one, Upstreams(answer), "application/jsonl").body
    assert (
        b'{"event":"section","section":"x","data":"/1","meta":{"state":"ok"},"errors":[]}\n'
        in lines
    )
    assert lines.splitlines()[-1].startswith(b'{"event":"complete","errors":[{"section":"y",')


def test_elements_are_sent_one_by_one_in_a_list_a_table_and_a_batch() -> None:
    one = plan(
        'x: {for_each: "{ids}", get: "a:/{item}"}\n'
        'y: {for_each: {in: "{ids}", key: "@"}, get: "a:/{item}"}\n'
        'z: {for_each: {in: "{ids}", batch: 1}, get: "a:/z?id={item}"}',
        parameters=PARAMETERS,
    )

    async def answer(request: Request) -> Any:
        target = target_of(request)
        number = int(target[-1])
        await asyncio.sleep(number / 10)
        return [{"id": number}] if "?" in target else number

    stream = received(one, Upstreams(answer), SSE)
    found = [
        (at, event.data["section"], event.data.get("index", event.data.get("key")))
        for at, part in stream.parts
        for event in parsed(SSE, part)
        if event.name == "element"
    ]
    assert sorted(found, key=str) == sorted(
        [(0.1, "x", 0), (0.2, "x", 1), (0.3, "x", 2), (0.2, "x", 3),
         (0.1, "y", "1"), (0.2, "y", "2"), (0.3, "y", "3"), (0.2, "y", "2"),
         (0.1, "z", 0), (0.2, "z", 1), (0.2, "z", 3), (0.3, "z", 2)],
        key=str,
    )  # fmt: skip


def test_elements_are_left_out_for_a_client_that_does_not_read() -> None:
    one = plan('a: {get: "a:/0"}\nx: {for_each: "{ids}", get: "a:/{item}"}', parameters=PARAMETERS)

    async def main() -> Received:
        client = Received()
        client.paused = True
        accept = [(b"accept", SSE.encode())]
        upstreams = Upstreams(tenths)
        endpoint(one, upstreams).answer("GET", b"/d", b"", accept, (), client.respond, client.begin)
        await client.ended.wait()
        return client

    stream = run(main())
    assert [event.name for event in stream.events] == ["section", "section", "complete"]
    assert len(folded(stream.events)["data"]["x"]) == 4


NEEDED = plan('x: {get: "a:/1"}\nneeded: {get: "a:/2", required: true}')


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_required_failure_before_the_first_landing_has_its_status(media_type: str) -> None:
    async def answer(request: Request) -> Any:
        if target_of(request) == "/2":
            raise UpstreamStatus("gone", upstream="a", status=404)
        await asyncio.sleep(1)

    stream = received(NEEDED, Upstreams(answer), media_type)
    assert (stream.status, stream.streamed) == (404, False)
    assert stream.fields["content-type"] == "application/problem+json"


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_a_required_failure_after_it_is_an_event(media_type: str) -> None:
    async def answer(request: Request) -> Any:
        if target_of(request) == "/2":
            await asyncio.sleep(1)
            raise UpstreamStatus("gone", upstream="a", status=404)
        return 1

    stream = received(NEEDED, Upstreams(answer), media_type)
    assert (stream.status, stream.streamed) == (200, True)
    assert [event.name for event in stream.events] == ["section", "problem"]
    assert stream.events[-1].data["status"] == 404
    assert stream.events[-1].data["errors"][0]["section"] == "needed"


def test_overload_has_its_status_though_its_sections_landed_one_by_one() -> None:
    async def answer(request: Request) -> Any:
        await asyncio.sleep(int(target_of(request)[1:]))
        raise LimiterFull("full", upstream="a", shed=True)

    stream = received(plan('x: {get: "a:/1"}\ny: {get: "a:/2"}'), Upstreams(answer), SSE)
    assert (stream.status, stream.streamed) == (503, False)


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_what_the_client_has_is_answered_204(media_type: str) -> None:
    tag = received(THREE, Upstreams(tenths), SSE).events[-1].identifier
    same = received(THREE, Upstreams(tenths), media_type, last_event_id=tag)
    assert (same.status, same.body) == (204, b"")
    other = received(THREE, Upstreams(tenths), media_type, last_event_id='W/"other"')
    assert other.status == 200
    assert len(other.events) == 4


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_head_has_the_fields_of_get_and_no_content(media_type: str) -> None:
    head = received(THREE, Upstreams(tenths), media_type, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.fields == received(THREE, Upstreams(tenths), media_type).fields


def test_a_bug_after_the_first_landing_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(request: Request) -> Any:
        await asyncio.sleep(int(target_of(request)[1:]))
        if target_of(request) == "/2":
            raise ZeroDivisionError
        return 1

    two = plan('x: {get: "a:/1"}\ny: {get: "a:/2"}')
    stream = received(two, Upstreams(answer), SSE)
    assert [event.name for event in stream.events] == ["section", "problem"]
    assert stream.events[-1].data["status"] == 500

    def broken(*_: Any) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr("gateway.answers.events.EventTemplate.section", broken)
    assert received(two, Upstreams(after(0.1)), SSE).status == 500


@pytest.mark.parametrize(("media_type", "beat"), [(SSE, b":\n\n"), ("application/jsonl", b"\n")])
def test_a_silent_stream_has_heartbeats(media_type: str, beat: bytes) -> None:
    async def answer(request: Request) -> Any:
        await asyncio.sleep(int(target_of(request)[1:]))

    two = plan('x: {get: "a:/1"}\ny: {get: "a:/40"}', deadline="50s")
    stream = received(two, Upstreams(answer), media_type)
    assert [(round(at), part) for at, part in stream.parts[1:3]] == [(15, beat), (30, beat)]
    assert [event.name for event in stream.events] == ["section", "section", "complete"]


def test_a_cancelled_stream_cancels_its_calls() -> None:
    upstreams = Upstreams(tenths)

    async def main() -> None:
        client = Received()
        accept = [(b"accept", SSE.encode())]
        work = endpoint(THREE, upstreams).answer(
            "GET", b"/d", b"", accept, (), client.respond, client.begin
        )
        await asyncio.sleep(0.15)
        assert work is not None
        for task in work.cancel():
            await asyncio.wait([task])
        await asyncio.sleep(1)
        assert [event.data["section"] for event in client.events] == ["fast"]

    run(main())
    assert sorted(upstreams.cancelled) == ["/1/1", "/3"]
