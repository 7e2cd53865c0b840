from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any

import httpx
import pytest
import respx

import gateway.app
import gateway.runtime
from gateway.app import create_app
from gateway.cache.store.memory import MemoryStore
from gateway.config.settings import Settings
from gateway.plan.load import Loaded, loads
from gateway.runtime import Runtime
from gateway.upstreams.stack import Shared
from gateway.web.application import Application
from tests.serving import asked

EPOCH = 1_700_000_000.0
CONFIG = """
upstreams:
  a:
    base_url: http://a.test
    cache: {ttl: 60s, stale_while_revalidate: 60s, stale_if_error: 10m, jitter: 0, early_refresh: 0}
  b: {base_url: http://b.test, cache: {ttl: 30s, jitter: 0, early_refresh: 0}}
  plain: {base_url: http://plain.test}
  said: {base_url: http://said.test, cache: {ttl: upstream, jitter: 0, early_refresh: 0}}
  absent: {base_url: http://absent.test, cache: {ttl: 60s, negative: 20s, early_refresh: 0}}
  who:
    base_url: http://who.test
    forward_headers: [authorization]
    cache: {ttl: 60s, jitter: 0, early_refresh: 0}
dashboards:
  a: {path: /a, sections: {a: {get: "a:/"}}}
  needed: {path: /needed, sections: {a: {get: "a:/", required: true}}}
  ab: {path: /ab, sections: {a: {get: "a:/"}, b: {get: "b:/"}}}
  plain: {path: /plain, sections: {plain: {get: "plain:/"}}}
  mixed: {path: /mixed, sections: {a: {get: "a:/"}, plain: {get: "plain:/"}}}
  said: {path: /said, sections: {said: {get: "said:/"}}}
  absent: {path: /absent, sections: {absent: {get: "absent:/"}}}
  missing: {path: /missing, sections: {absent: {get: "absent:/", required: true}}}
  who: {path: /who, sections: {who: {get: "who:/"}}}
  skipping: {path: /skipping, sections: {a: {get: "a:/"}, b: {get: "b:/", when: "`false`"}}}
  instead: {path: /instead, sections: {b: {get: "b:/", fallback: {n: 0}}}}
  hiding: {path: /hiding, sections: {a: {get: "a:/"}, said: {get: "said:/", hidden: true}}}
  racing: {path: /racing, sections: {x: {race: ["said:/", "a:/"]}}}
  list:
    path: /list
    sections: {x: {for_each: "{numbers}", get: "said:/{item}"}}
    parameters: {numbers: {type: array, items: {type: integer}, default: [1, 2]}}
"""


@functools.cache
def loaded() -> Loaded:
    return loads(CONFIG)


def fresh_application() -> Application[Runtime]:
    return create_app(loaded(), Settings(redis_url=None))


class World:
    """Upstreams that answer what they are told to, a clock, and replicas that share a store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, router: respx.MockRouter) -> None:
        self.time = EPOCH
        self.status: dict[str, int] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []
        self.unchanging = False
        self.slow = asyncio.Event()
        self.slow.set()
        router.route().mock(side_effect=self.answer)
        self.store = MemoryStore(now=lambda: self.time)
        monkeypatch.setattr(
            gateway.runtime, "Shared", partial(Shared, now=lambda: self.time, random=lambda: 0.5)
        )
        monkeypatch.setattr(gateway.app, "_open_store", lambda settings, events: self.store)
        self.app = fresh_application()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        name = request.url.host.removesuffix(".test")
        self.calls.append(name)
        await self.slow.wait()
        count = 0 if self.unchanging else self.calls.count(name)
        told = {"n": count, "who": request.headers.get("authorization", "")}
        return httpx.Response(
            self.status.get(name, 200),
            json=told,
            headers=self.headers.get(name + request.url.path) or self.headers.get(name, {}),
        )

    def elsewhere(self) -> None:
        """Go on in another process, with the same store."""
        self.app = fresh_application()

    async def get(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        async with asked(self.app) as client:
            answer = await client.request(
                method, path, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )
        for _ in range(20):
            await asyncio.sleep(0)  # what was begun beside ends
        return answer


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with respx.mock(assert_all_called=False) as router:
        yield World(monkeypatch, router)


Step = tuple[float, str] | tuple[float, str, dict[str, str]] | Callable[[World], Any]


def fails(name: str, status: int = 503) -> Callable[[World], None]:
    return lambda world: world.status.update({name: status})


def says(upstream: str = "said", **headers: str) -> Callable[[World], None]:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda world: world.headers.update({upstream: told})


def purges(tag: str) -> Callable[[World], Any]:
    return lambda world: world.store.purge(tag)


ADA, BOB = {"authorization": "ada"}, {"authorization": "bob"}
A_WHILE = {"cache_control": "max-age=20", "age": "5"}
PUBLIC = "public, max-age=60"
MISS = "gateway; fwd=miss; stored"
EXPIRED = "gateway; fwd=stale; stored"
STALE = "gateway; hit; detail=stale-while-revalidate; ttl="
FAILING = "gateway; fwd=stale; detail=stale-if-error"

# Seconds are those since the beginning. The last request is looked at: the state of its sections
# and the second that they are from, Age, Cache-Control, Cache-Status; and whether it has the bytes
# and the ETag of the answer before ("same"), or others ("new").
TABLE: list[tuple[str, list[Step], str, int | None, str, str | None, str]] = [
    ("cold", [(0, "/a")], "a ok 0", 0, PUBLIC, MISS, ""),
    ("a hit, from kept bytes", [(0, "/a"), (10, "/a")],
     "a ok 0", 10, PUBLIC, "gateway; hit; ttl=50", "same"),
    ("a hit in the last second, from kept sections", [(0, "/a"), (59.5, "/a")],
     "a ok 0", 59, "public, max-age=59", "gateway; hit; ttl=0", "same"),
    ("a hit in another process", [(0, "/a"), World.elsewhere, (10, "/a")],
     "a ok 0", 10, PUBLIC, "gateway; hit; ttl=50", "same"),
    ("a hit for another dashboard with the same section", [(0, "/a"), (10, "/needed")],
     "a ok 0", 10, PUBLIC, "gateway; hit; ttl=50", "same"),
    ("just expired: stale while it is asked for again", [(0, "/a"), (60, "/a")],
     "a stale 0", 60, "no-cache", STALE + "0", "seen"),
    ("long expired", [(0, "/a"), fails("a"), (61, "/a"), (119.5, "/a")],
     "a stale 0", 119, "no-cache", STALE + "-60", "same"),
    ("refreshed beside", [(0, "/a"), (61, "/a"), (62, "/a")],
     "a ok 61", 1, PUBLIC, "gateway; hit; ttl=59", "new"),
    ("past the window of staleness", [(0, "/a"), (121, "/a")],
     "a ok 121", 0, PUBLIC, EXPIRED, "new"),
    ("past the window, and the upstream fails", [(0, "/a"), fails("a"), (121, "/a")],
     "a stale 0 upstream_status", 121, "no-cache", FAILING, "new"),
    ("the same once more: the same bytes", [(0, "/a"), fails("a"), (121, "/a"), (300, "/a")],
     "a stale 0 upstream_status", 300, "no-cache", FAILING, "same"),
    ("past every window, and the upstream fails", [(0, "/a"), fails("a"), (661, "/a")],
     "a failed", None, "no-store", None, "new"),
    ("past every window, and it is required", [(0, "/needed"), fails("a"), (661, "/needed")],
     "502", None, "no-store", None, "new"),
    ("the upstream says that it is gone", [(0, "/a"), fails("a", 404), (121, "/a")],
     "a failed", None, "no-store", None, "new"),
    ("the upstream recovers", [(0, "/a"), fails("a"), (121, "/a"), fails("a", 200), (130, "/a")],
     "a ok 130", 0, PUBLIC, EXPIRED, "new"),
    ("fails, and nothing is kept", [fails("a"), (0, "/a")],
     "a failed", None, "no-store", None, ""),
    ("two sections: the least fresh one counts", [(0, "/ab")],
     "a ok 0, b ok 0", 0, "public, max-age=30", MISS, ""),
    ("two sections, one expired", [(0, "/ab"), (31, "/ab")],
     "a ok 0, b ok 31", 31, PUBLIC, EXPIRED, "new"),
    ("two sections, one stale", [(0, "/ab"), (59, "/ab"), fails("a"), (61, "/ab")],
     "a stale 0, b ok 59", 61, "no-cache", STALE + "-1", "seen"),
    ("two sections, one failed", [(0, "/ab"), fails("b"), (31, "/ab")],
     "a ok 0, b failed", 31, "no-store", "gateway; fwd=miss", "new"),
    ("one kept section, one that is never kept", [(0, "/mixed"), (5, "/mixed")],
     "a ok 0, plain ok", 5, "no-cache", "gateway; fwd=miss", "new"),
    ("nothing is ever kept", [(0, "/plain")], "plain ok", None, "no-cache", None, ""),
    ("a skipped section says nothing", [(0, "/skipping"), (5, "/skipping")],
     "a ok 0, b skipped", 5, PUBLIC, "gateway; hit; ttl=55", "same"),
    ("a fallback", [fails("b"), (0, "/instead")], "b fallback", None, "no-store", None, ""),
    ("the upstream's own lifetime, part of it spent", [says(**A_WHILE), (10, "/said")],
     "said ok 5", 5, "public, max-age=20", MISS, ""),
    ("the same, later", [says(**A_WHILE), (10, "/said"), (20, "/said")],
     "said ok 5", 15, "public, max-age=20", "gateway; hit; ttl=5", "same"),
    ("the upstream's own window of staleness",
     [says(cache_control="max-age=5, stale-while-revalidate=30"), (0, "/said"), (8, "/said")],
     "said stale 0", 8, "no-cache", STALE + "-3", "seen"),
    ("the upstream forbids to keep it", [says(cache_control="no-store"), (0, "/said")],
     "said ok", None, "no-store", "gateway; fwd=miss", ""),
    ("a private section that is not kept", [says("plain", cache_control="private"), (0, "/plain")],
     "plain ok", None, "private, no-cache", None, ""),
    ("a section that is not kept and must not be",
     [says("plain", cache_control="private, no-store"), (0, "/plain")],
     "plain ok", None, "no-store", None, ""),
    ("a private section beside a kept one",
     [says("plain", cache_control="private, max-age=60"), (0, "/mixed"), (5, "/mixed")],
     "a ok 0, plain ok", 5, "private, no-cache", "gateway; fwd=miss", "new"),
    ("private, and to be kept for a while",
     [says("a", cache_control="max-age=60, private"), (0, "/a"), (1, "/a")],
     "a ok", None, "private, no-cache", "gateway; fwd=miss", "new"),
    ("private since the last time",
     [(0, "/a"), says("a", cache_control="private"), (61, "/a"), (62, "/a")],
     "a ok", None, "private, no-cache", "gateway; fwd=miss", "new"),
    ("a hidden section that must not be stored", [says(cache_control="no-store"), (0, "/hiding")],
     "a ok 0", 0, "no-store", "gateway; fwd=miss", ""),
    ("the winner of a race", [says(cache_control="private"), fails("a"), (0, "/racing")],
     "x ok", None, "private, no-cache", "gateway; fwd=miss", ""),
    ("the strictest element of a list",
     [says(cache_control="max-age=60"), says("said/2", cache_control="private"), (0, "/list")],
     "x ok 0", 0, "private, no-cache", MISS, ""),
    ("kept by the gateway's own policy, not by others",
     [says("a", cache_control="no-cache"), (0, "/a"), (10, "/a")],
     "a ok 0", 10, "no-cache", "gateway; hit; ttl=50", "same"),
    ("the same in another process",
     [says("a", cache_control="no-cache"), (0, "/a"), World.elsewhere, (10, "/a")],
     "a ok 0", 10, "no-cache", "gateway; hit; ttl=50", "same"),
    ("not without asking once it is stale",
     [says(cache_control="max-age=20, must-revalidate"), (0, "/said"), (5, "/said")],
     "said ok 0", 5, "public, max-age=20, must-revalidate", "gateway; hit; ttl=15", "same"),
    ("a lifetime for shared caches, as it comes",
     [says(cache_control="max-age=0, s-maxage=20"), (0, "/said")],
     "said ok 0", 0, "public, max-age=0, s-maxage=20, proxy-revalidate", MISS, ""),
    ("a lifetime for shared caches",
     [says(cache_control="max-age=0, s-maxage=20"), (0, "/said"), World.elsewhere, (5, "/said")],
     "said ok 0", 5, "public, max-age=0, s-maxage=20, proxy-revalidate", "gateway; hit; ttl=15",
     "same"),
    ("what is absent is kept too", [fails("absent", 404), (0, "/absent"), (10, "/absent")],
     "absent failed", None, "no-store", None, "same"),
    ("what is absent and required", [fails("absent", 404), (0, "/missing"), (10, "/missing")],
     "404", None, "no-store", None, "same"),
    ("with a credential", [(0, "/who", ADA)],
     "who ok 0", 0, "private, max-age=60", MISS, ""),
    ("with the same credential again", [(0, "/who", ADA), (5, "/who", ADA)],
     "who ok 0", 5, "private, max-age=60", "gateway; hit; ttl=55", "same"),
    ("with another credential", [(0, "/who", ADA), (5, "/who", BOB)],
     "who ok 5", 0, "private, max-age=60", MISS, "new"),
    ("without one", [(0, "/who", ADA), (5, "/who")], "who ok 5", 0, PUBLIC, MISS, "new"),
    ("purged", [(0, "/a"), purges("upstream:a"), (10, "/a")], "a ok 10", 0, PUBLIC, MISS, "new"),
    ("something else was purged", [(0, "/a"), purges("upstream:b"), (10, "/a")],
     "a ok 0", 10, PUBLIC, "gateway; hit; ttl=50", "same"),
]  # fmt: skip


def told(answer: httpx.Response) -> str:
    """Return the states in the body, and the second that each section is from."""
    if answer.status_code != 200:
        return str(answer.status_code)
    sections = []
    for name, meta in answer.json()["meta"]["sections"].items():
        words = [name, meta["state"]]
        if "as_of" in meta:
            words.append(f"{datetime.fromisoformat(meta['as_of']).timestamp() - EPOCH:.0f}")
        sections.append(" ".join([*words, *filter(None, [meta.get("reason")])]))
    return ", ".join(sections)


@pytest.mark.parametrize(
    ("steps", "states", "age", "control", "status", "compared"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
async def test_what_an_answer_says_of_its_freshness(
    world: World,
    steps: list[Step],
    states: str,
    age: int | None,
    control: str,
    status: str | None,
    compared: str,
) -> None:
    answers = []
    for step in steps:
        if callable(step):
            done = step(world)
            if done is not None:
                await done
        else:
            seconds, path, *headers = step
            world.time = EPOCH + seconds
            answers.append(await world.get(path, **(headers[0] if headers else {})))
    last = answers[-1]
    fields = last.headers
    assert told(last) == states
    assert (fields.get("age"), fields["cache-control"], fields.get("cache-status")) == (
        None if age is None else str(age),
        control,
        status,
    )
    if last.status_code == 200:
        assert fields["etag"].startswith('W/"')
    if compared:
        before = answers[-2]
        assert (last.content == before.content) is (compared == "same")
        tags_match = fields.get("etag") == before.headers.get("etag")
        assert tags_match is (compared in {"same", "seen"}) or "etag" not in fields


@pytest.mark.parametrize("path", ["/a", "/ab", "/mixed", "/plain", "/who"])
async def test_what_is_unchanged_is_not_sent_again(world: World, path: str) -> None:
    first = await world.get(path)
    if path in {"/mixed", "/plain"}:
        world.calls.clear()  # they are asked for again, and say the same as before
    world.time += 5
    again = await world.get(path, if_none_match=f'"other", {first.headers["etag"]}')
    assert (again.status_code, again.content) == (304, b"")
    whole = await world.get(path) if path in {"/a", "/ab", "/who"} else None
    if whole is not None:  # RFC 9110 section 15.4.5: a 304 has the fields that the 200 has
        for name in ("etag", "age", "cache-control", "cache-status", "vary"):
            assert again.headers.get(name) == whole.headers.get(name)


@pytest.mark.parametrize("path", ["/a", "/ab", "/mixed", "/needed", "/who", "/skipping"])
async def test_a_poll_across_a_refresh_that_brought_the_same_data_is_a_304(
    world: World, path: str
) -> None:
    world.unchanging = True
    headers = ADA if path == "/who" else {}
    first = await world.get(path, **headers)
    bodies = {first.content}
    for seconds in (61, 62, 125, 130, 190, 1000):  # stale, refreshed, stale, ...; past the window
        world.time = EPOCH + seconds
        for method in ("GET", "HEAD"):
            again = await world.get(
                path, method=method, if_none_match=first.headers["etag"], **headers
            )
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == first.headers["etag"]
        bodies.add((await world.get(path, **headers)).content)
    assert len(bodies) > 1  # `as_of` says when the value is from


async def test_other_data_after_a_refresh_are_sent(world: World) -> None:
    first = await world.get("/a")
    world.time = EPOCH + 61
    etag = first.headers["etag"]
    assert (await world.get("/a", if_none_match=etag)).status_code == 304  # stale, and refreshed
    again = await world.get("/a", if_none_match=etag)
    assert (again.status_code, again.json()["data"]["a"]["n"]) == (200, 2)


async def test_data_that_are_stale_for_an_error_are_sent_once(world: World) -> None:
    world.unchanging = True
    first = await world.get("/a")
    world.status["a"] = 503
    world.time = EPOCH + 121
    failing = await world.get("/a", if_none_match=first.headers["etag"])
    assert (failing.status_code, told(failing)) == (200, "a stale 0 upstream_status")
    again = await world.get("/a", if_none_match=failing.headers["etag"])
    assert again.status_code == 304


async def test_several_lines_of_if_none_match_are_one_list(world: World) -> None:
    etag = (await world.get("/a")).headers["etag"].encode()
    async with asked(world.app) as client:
        for tags in ([etag, b'"other"'], [b'"other"', etag], [b'"other", "and"', b" " + etag]):
            answer = await client.get("/a", headers=[(b"if-none-match", tag) for tag in tags])
            assert answer.status_code == 304
        answer = await client.get("/a", headers=[(b"if-none-match", b'"other"')] * 2)
        assert answer.status_code == 200


async def test_head_says_what_get_says(world: World) -> None:
    whole = await world.get("/a")
    async with asked(world.app) as client:
        head = await client.head("/a")
    assert head.content == b""
    for name in ("etag", "age", "cache-control", "content-length", "content-type"):
        assert head.headers[name] == whole.headers[name]


async def test_who_joins_a_flight_says_so(world: World) -> None:
    world.slow.clear()
    both = [asyncio.create_task(world.get("/a")) for _ in range(2)]
    while not world.calls:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    world.slow.set()
    first, second = await asyncio.gather(*both)
    assert world.calls == ["a"]
    assert first.content == second.content
    assert sorted([first.headers["cache-status"], second.headers["cache-status"]]) == [
        "gateway; fwd=miss; collapsed",
        MISS,
    ]
    assert first.headers["cache-control"] == second.headers["cache-control"] == PUBLIC


async def test_one_answer_for_a_principal_and_for_nobody_differ_by_the_field(world: World) -> None:
    assert (await world.get("/who", authorization="ada")).headers["vary"] == "accept, authorization"
    assert (await world.get("/who")).headers["vary"] == "accept, authorization"
    assert (await world.get("/a")).headers["vary"] == "accept"


@pytest.mark.parametrize("path", ["/a", "/plain", "/who"])
async def test_what_may_depend_on_anything_answers_no_other_request(
    world: World, path: str
) -> None:
    for upstream in ("a", "plain", "who"):
        world.headers[upstream] = {"vary": "accept, *"}
    for _ in range(3):  # from the upstream, the gateway's cache, another process
        answer = await world.get(path)
        again = await world.get(path, if_none_match=answer.headers["etag"])
        for each in (answer, again):
            assert (each.headers["vary"], each.headers["cache-control"]) == ("*", "no-cache")
        world.elsewhere()


async def test_fields_that_are_not_forwarded_are_no_part_of_vary(world: World) -> None:
    """The upstream has seen nothing of them: the gateway sends its own Accept."""
    for upstream in ("a", "who"):
        world.headers[upstream] = {"vary": "accept, accept-encoding, authorization, origin"}
    assert (await world.get("/a")).headers["vary"] == "accept"
    assert (await world.get("/who")).headers["vary"] == "accept, authorization"


@pytest.mark.parametrize("said", ["private", "no-store"])
async def test_an_answer_for_one_request_is_not_shared_with_who_asks_at_once(
    world: World, said: str
) -> None:
    world.headers["a"] = {"cache-control": said}
    world.slow.clear()
    both = [asyncio.create_task(world.get("/a")) for _ in range(2)]
    while not world.calls:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    world.slow.set()
    answers = await asyncio.gather(*both)
    assert sorted(answer.json()["data"]["a"]["n"] for answer in answers) == [1, 2]
    for answer in answers:
        assert answer.headers["cache-status"] == "gateway; fwd=miss"
