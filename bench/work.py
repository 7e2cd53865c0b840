"""The workload of all contenders: documents of the upstreams, sections of the dashboards."""

from __future__ import annotations

import json

KB = 1024
SIZES = {"1k": KB, "10k": 10 * KB, "100k": 100 * KB, "1m": KB * KB, "2m": 2 * KB * KB}
SECTIONS = (1, 3, 10, 30)
DELAYS = {"": 0.0, "slow/": 0.020, "second/": 1.0}

_ITEM = {"id": 0, "title": "sunt aut facere", "tags": ["a", "b"], "score": 1.5, "open": True}


def document(size: int) -> bytes:
    """Return a JSON document of about `size` bytes that looks like an answer of a public API."""
    items: list[dict[str, object]] = []
    length = len(json.dumps({"name": "x" * 8, "items": []}, separators=(",", ":")))
    while True:
        item = _ITEM | {"id": len(items)}
        more = len(json.dumps(item, separators=(",", ":"))) + 1
        if length + more > size and items:
            break
        items.append(item)
        length += more
    name = "x" * max(8, 8 + size - length)
    return json.dumps({"name": name, "items": items}, separators=(",", ":")).encode()


def documents() -> dict[str, bytes]:
    """Return the files that the upstreams serve, by name."""
    found = {"a.json": document(400), "b.json": document(2500), "c.json": document(300)}
    return found | {f"size{name}.json": document(size) for name, size in SIZES.items()}


def _cycled(count: int, prefix: str = "", files: str = "abc") -> dict[str, str]:
    return {f"s{n}": f"/{prefix}{files[n % len(files)]}.json" for n in range(count)}


def dashboards() -> dict[str, dict[str, str]]:
    """Return each dashboard's sections with the path that each of them calls.

    `fan3` is the standard workload: it merges 0.4, 2.5 and 0.3 KB. The `slow` upstreams take 20 ms,
    `second` takes 1 s.
    """
    found = {f"fan{count}": _cycled(count) for count in SECTIONS}
    found |= {f"size{name}": {"s0": f"/size{name}.json"} for name in SIZES}
    found["slow3"] = _cycled(3, "slow/")
    found["slow1"] = _cycled(1, "slow/", "b")
    found["slow10"] = _cycled(10, "slow/", "b")
    found["second3"] = _cycled(3, "second/")
    return found


def expected(name: str) -> dict[str, object]:
    """Return the merged data of one dashboard."""
    files = documents()
    return {
        section: json.loads(files[path.rpartition("/")[2]])
        for section, path in dashboards()[name].items()
    }
