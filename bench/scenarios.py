"""The scenarios of the benchmark. Each returns its figures, ready for JSON."""

from __future__ import annotations

import gc
import statistics
import time
import urllib.error
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

import memory
import peers
import work
import wrk
from bench import BEFORE, GATEWAY, Bench, Contender

if TYPE_CHECKING:
    from collections.abc import Callable

Figures = dict[str, Any]
_FAST = ("node", "nginx_lua")
_CROWD = ("aiohttp", "node", "node_dispatch", "nginx_lua", "rust", "go", "lura_gogc400",
          "python_floor")  # fmt: skip
_LEAST = {"new_client": 8.0, "shared_httpx": 3.0}
_LONG = 6.0  # seconds of a round with 4,000 clients: a second goes into their connections
_FEW = 3  # rounds of scenarios that are costly and have no goal


def _contenders(bench: Bench, names: tuple[str, ...], path: str) -> list[Contender]:
    return [
        Contender(GATEWAY, GATEWAY, path),
        *(Contender(n, n, path, least=_LEAST.get(n, 0.0)) for n in bench.wanted(*names)),
    ]


def _ours(bench: Bench, path: str) -> list[Contender]:
    """Return the gateway of another checkout, if one was given."""
    wanted = bench.before is not None and bench.available(BEFORE)
    return [Contender(BEFORE, BEFORE, path)] if wanted else []


def _grow(bench: Bench, steps: dict[str, list[Contender]], *, rounds: int | None = None) -> Figures:
    """Measure all steps in turns, those of one contender in a row; rows by step and label."""
    contenders = [
        replace(contender, label=f"{step} {contender.label}")
        for step, some in steps.items()
        for contender in some
    ]
    order = list(dict.fromkeys(c.server for c in contenders))
    contenders.sort(key=lambda contender: order.index(contender.server))
    rows = bench.closed(contenders, rounds=rounds)
    return {
        "grows": {
            step: {contender.label: rows[f"{step} {contender.label}"] for contender in some}
            for step, some in steps.items()
        }
    }


def cold(bench: Bench) -> Figures:
    """Cold fan-out of 3, 64 clients."""
    contenders = _contenders(bench, tuple(peers.PEERS), "/fan3") + _ours(bench, "/fan3")
    contenders.append(Contender("constant", "constant", "/"))
    contenders.append(Contender("upstream", "upstream", "/b.json"))
    return {"closed": bench.closed(contenders)}


def clients(bench: Bench) -> Figures:
    """Growth with clients: 8, 64, 512 (with the strongest peers) and 4,000 (the gateway alone)."""
    few = _contenders(bench, _FAST, "/fan3")
    many = _contenders(bench, _CROWD, "/fan3") + _ours(bench, "/fan3")  # httpx gives up at 512
    steps = {
        "8": [replace(contender, clients=8) for contender in few],
        "64": many,
        "512": [replace(contender, clients=512) for contender in many],
        "4000": [Contender(GATEWAY, GATEWAY, "/fan3", clients=4000, least=_LONG)],
    }
    return _grow(bench, steps)


def sections(bench: Bench) -> Figures:
    """Growth with sections: 1, 3, 10, 30; 64 clients."""
    return _grow(bench, {str(n): _contenders(bench, _FAST, f"/fan{n}") for n in work.SECTIONS})


def payload(bench: Bench) -> Figures:
    """Growth with the payload of one section: 1 KB to 2 MB; 8 clients."""
    steps = {
        name: [replace(c, clients=8) for c in _contenders(bench, _FAST, f"/size{name}")]
        for name in work.SIZES
    }
    return _grow(bench, steps, rounds=_FEW)


def megabyte(bench: Bench) -> Figures:
    """1 MB passed through, 8 clients, against orjson's loads and dumps alone of the same bytes."""
    contender = Contender(GATEWAY, GATEWAY, "/size1m", clients=8)
    body = work.documents()["size1m.json"]
    server = bench.server(GATEWAY)
    bench.check(server, contender.path)
    bench.measure(contender, warm_up=True)
    rows = []
    for _ in range(bench.rounds):
        row = bench.measure(contender)
        rows.append(row | {"orjson": _orjson([body], 50)})
    bench.check(server, contender.path)
    return {"closed": {GATEWAY: rows}}


def features(bench: Bench) -> Figures:
    """`select` over 100 elements, schema checks, `for_each` over 50; 64 clients."""
    names = ("list", "select", "fan3", "schema3", "each")
    return {"closed": bench.closed([Contender(n, GATEWAY, f"/{n}") for n in names])}


def cached(bench: Bench) -> Figures:
    """Cached in process, 304, and cached in Redis, against constant bytes from bare ASGI."""
    server = bench.server("cached")
    etag = _etag(server.url + "/fan3")
    contenders = [
        Contender("constant", "constant", "/"),
        Contender("cached", "cached", "/fan3"),
        Contender("not_modified", "cached", "/fan3", {"If-None-Match": etag}),
    ]
    if bench.available("in_redis"):
        contenders.append(Contender("in_redis", "in_redis", "/fan3"))
        contenders.append(Contender("cold", GATEWAY, "/fan3"))
    return {"closed": bench.closed(contenders)}


def redis(bench: Bench) -> Figures:
    """Cached in Redis for a single client, so that no reads are merged."""
    servers = {"in_redis": "in_redis", "cached": "cached", "cold": GATEWAY}
    if not bench.available("in_redis"):
        raise peers.MissingError(bench.missing["in_redis"])
    contenders = [Contender(n, server, "/fan3", clients=1) for n, server in servers.items()]
    return {"closed": bench.closed(contenders, rounds=_FEW)}


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
    return {"closed": bench.closed([Contender(n, n, "/fan3") for n in names])}


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
            rows[name].append(bench.open_loop(url, rate, max(2.0, bench.seconds * 2)))
    return {"open": rows}


def _capacity(url: str) -> float:
    return statistics.median(wrk.run(url, clients=256, seconds=2).rate for _ in range(3))


def in_flight(bench: Bench) -> Figures:
    """5,000 dashboards in flight with 1 s upstreams: memory of each, none lost."""
    return {"memory": memory.in_flight(bench)}


def idle(bench: Bench) -> Figures:
    """5,000 idle keep-alive clients: memory of each."""
    return {"memory": memory.idle(bench)}


def processes(bench: Bench) -> Figures:
    """One process and two, on both cores, together with upstream and load generator."""
    rows = bench.closed([Contender(n, n, "/fan3", clients=256) for n in ("one", "two")])
    bench.stop("one")
    bench.stop("two")
    return {"closed": rows}


def orjson_time(bench: Bench) -> Figures:
    """Time that orjson needs to read the three documents and write the merged one."""
    files = [work.documents()[name] for name in ("a.json", "b.json", "c.json")]
    return {"seconds": [_orjson(files, 5000) for _ in range(bench.rounds)]}


def _orjson(files: list[bytes], count: int) -> float:
    """Return the CPU seconds that orjson needs to read the files and to write them as one."""
    gc.disable()
    began = time.thread_time()
    for _ in range(count):
        orjson.dumps([orjson.loads(body) for body in files])
    spent = time.thread_time() - began
    gc.enable()
    return spent / count


SCENARIOS: dict[str, Callable[[Bench], Figures]] = {
    "cold": cold,
    "clients": clients,
    "sections": sections,
    "payload": payload,
    "megabyte": megabyte,
    "features": features,
    "cached": cached,
    "redis": redis,
    "declared": declared,
    "delay": delay,
    "in_flight": in_flight,
    "idle": idle,
    "processes": processes,
    "orjson": orjson_time,
}
