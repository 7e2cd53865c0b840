"""The scenarios of the benchmark. Each returns its figures, ready for JSON."""

from __future__ import annotations

import statistics
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson

import peers
import work
import wrk
from bench import GATEWAY, Bench, Contender

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = dict[str, Any]
_IN_FLIGHT = 5000
_FAST = ("node", "nginx_lua")
_LEAST = {"new_client": 8.0, "shared_httpx": 3.0}


def _contenders(bench: Bench, names: tuple[str, ...], path: str) -> list[Contender]:
    return [
        Contender(GATEWAY, GATEWAY, path),
        *(Contender(n, n, path, least=_LEAST.get(n, 0.0)) for n in bench.wanted(*names)),
    ]


def cold(bench: Bench) -> Figures:
    """Cold fan-out of 3, 64 clients."""
    contenders = _contenders(bench, tuple(peers.PEERS), "/fan3")
    contenders.append(Contender("constant", "constant", "/"))
    contenders.append(Contender("upstream", "upstream", "/b.json"))
    return {"closed": bench.closed(contenders, clients=64)}


def clients(bench: Bench) -> Figures:
    """Growth with clients: 8, 64, 512."""
    names = ("shared_httpx", "aiohttp", *_FAST)
    found = {}
    for count in (8, 64, 512):
        some = names if count != 512 else names[1:]  # httpx's pool gives up at 512 clients
        found[str(count)] = bench.closed(_contenders(bench, some, "/fan3"), clients=count)
    return {"grows": found}


def sections(bench: Bench) -> Figures:
    """Growth with sections: 1, 3, 10, 30; 64 clients."""
    return {
        "grows": {
            str(n): bench.closed(_contenders(bench, _FAST, f"/fan{n}"), clients=64)
            for n in work.SECTIONS
        }
    }


def payload(bench: Bench) -> Figures:
    """Growth with the payload of one section: 1 KB to 2 MB; 8 clients."""
    return {
        "grows": {
            name: bench.closed(_contenders(bench, _FAST, f"/size{name}"), clients=8)
            for name in work.SIZES
        }
    }


def cached(bench: Bench) -> Figures:
    """Cached in process, 304, and cached in Redis, against constant bytes from bare ASGI."""
    server = bench.server("cached")
    etag = _etag(server.url + "/fan3")
    contenders = [
        Contender("constant", "constant", "/"),
        Contender("cached", "cached", "/fan3"),
        Contender("not_modified", "cached", "/fan3", {"If-None-Match": etag}),
    ]
    try:
        bench.server("in_redis")
    except (ImportError, RuntimeError) as error:
        bench.missing["redis"] = str(error)
    else:
        contenders.append(Contender("in_redis", "in_redis", "/fan3"))
        contenders.append(Contender("cold", GATEWAY, "/fan3"))
    return {"closed": bench.closed(contenders, clients=64)}


def _etag(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        etag = str(answer.headers["ETag"])
    again = urllib.request.Request(url, headers={"If-None-Match": etag})
    try:
        urllib.request.urlopen(again, timeout=10)
    except urllib.error.HTTPError as error:
        if error.code == 304:
            return etag
    raise wrk.FailedError("a matching If-None-Match was not answered with 304")


def declared(bench: Bench) -> Figures:
    """Growth with declared dashboards: 1, 100, 1,000; 64 clients."""
    names = ("declared1", "declared100", "declared1000")
    return {"closed": bench.closed([Contender(n, n, "/fan3") for n in names], clients=64)}


def delay(bench: Bench) -> Figures:
    """20 ms upstreams at half load, open loop: three sections and ten, against one upstream."""
    gateway = bench.server(GATEWAY)
    for path in ("/slow1", "/slow3", "/slow10"):
        bench.check(gateway, path)
    half3 = _capacity(gateway.url + "/slow3") / 2
    half10 = _capacity(gateway.url + "/slow10") / 2
    runs = {
        "upstream": (bench.upstream.url + "/slow/b.json", half3),
        "three": (gateway.url + "/slow3", half3),
        "upstream_at_ten": (bench.upstream.url + "/slow/b.json", half10),
        "one": (gateway.url + "/slow1", half10),
        "ten": (gateway.url + "/slow10", half10),
    }
    if "node" in bench.wanted("node"):
        runs["node"] = (bench.server("node").url + "/slow3", half3)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(bench.rounds):
        for name, (url, rate) in runs.items():
            rows[name].append(bench.open_loop(url, rate, max(2.0, bench.seconds * 1.5)))
    return {"open": rows}


def _capacity(url: str) -> float:
    return statistics.median(wrk.run(url, clients=256, seconds=2).rate for _ in range(3))


def in_flight(bench: Bench) -> Figures:
    """5,000 dashboards in flight with 1 s upstreams: memory of each, none lost."""
    server = bench.server("in_flight")
    bench.check(server, "/second3")
    wrk.run(server.url + "/fan3", clients=64, seconds=2)
    rows = []
    for _ in range(1 if bench.rounds < 5 else 3):
        before, peak = server.rss(), 0
        with ThreadPoolExecutor(1) as pool:
            seconds = 6 if bench.rounds < 5 else 10
            running = pool.submit(
                wrk.run, server.url + "/second3", clients=_IN_FLIGHT, seconds=seconds
            )
            while not running.done():
                peak = max(peak, server.rss())
                time.sleep(0.05)
            load = running.result()
        each = (peak - before) / _IN_FLIGHT
        rows.append({"before": before, "peak": peak, "each": each, "rate": load.rate,
                     "p50": load.p50, "p99": load.p99, "answers": load.answers})  # fmt: skip
        bench.stop("in_flight")
        server = bench.server("in_flight")
        wrk.run(server.url + "/fan3", clients=64, seconds=2)
    bench.stop("in_flight")
    return {"memory": rows}


def processes(bench: Bench) -> Figures:
    """One process and two, on both cores, together with upstream and load generator."""
    rows = bench.closed(
        [Contender("one", "one", "/fan3"), Contender("two", "two", "/fan3")], clients=256
    )
    bench.stop("one")
    bench.stop("two")
    return {"closed": rows}


def orjson_time(bench: Bench) -> Figures:
    """Time that orjson needs to read the three documents and write the merged one."""
    files = [work.documents()[name] for name in ("a.json", "b.json", "c.json")]
    rows = []
    for _ in range(bench.rounds):
        began, count = time.perf_counter(), 5000
        for _ in range(count):
            orjson.dumps([orjson.loads(body) for body in files])
        rows.append((time.perf_counter() - began) / count)
    return {"seconds": rows}


SCENARIOS: dict[str, Callable[[Bench], Figures]] = {
    "cold": cold,
    "clients": clients,
    "sections": sections,
    "payload": payload,
    "cached": cached,
    "declared": declared,
    "delay": delay,
    "in_flight": in_flight,
    "processes": processes,
    "orjson": orjson_time,
}
