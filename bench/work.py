"""The workload of all contenders: documents of the upstreams, sections of the dashboards."""

from __future__ import annotations

import json

KB = 1024
SIZES = {"1k": KB, "10k": 10 * KB, "100k": 100 * KB, "1m": KB * KB, "2m": 2 * KB * KB}
SECTIONS = (1, 3, 10, 30)
ELEMENTS = 100  # of the list that `select` shapes
CALLS = 50  # of the dashboard with `for_each`
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
    found |= {f"list{count}.json": _list(count) for count in (CALLS, ELEMENTS)}
    return found | {f"size{name}.json": document(size) for name, size in SIZES.items()}


def _list(count: int) -> bytes:
    items = [_ITEM | {"id": number} for number in range(count)]
    return json.dumps(items, separators=(",", ":")).encode()


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


_SCHEMA = {
    "type": "object",
    "required": ["name", "items"],
    "properties": {
        "name": {"type": "string"},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "title"],
                "properties": {
                    "id": {"type": "integer"},
                    "title": {"type": "string"},
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "score": {"type": "number"},
                    "open": {"type": "boolean"},
                },
            },
        },
    },
}


def features() -> dict[str, dict[str, str]]:
    """Return dashboards of the gateway alone: sections as members of a YAML mapping."""
    listed = f'get: "up:/list{ELEMENTS}.json"'
    schema = json.dumps(_SCHEMA)
    each = f"for_each: {{in: '{{list}}', as: item, key: id, limit: {CALLS}, concurrency: {CALLS}}}"
    return {
        "list": {"s0": listed},
        "select": {"s0": f'{listed}, select: "[].{{id: id, title: title}}"'},
        "schema3": {
            name: f'get: "up:{path}", schema: {schema}'
            for name, path in dashboards()["fan3"].items()
        },
        "each": {
            "list": f'get: "up:/list{CALLS}.json"',
            "s0": f'{each}, get: "up:/c.json?id={{item.id}}"',
        },
    }


def expected(name: str) -> object:
    """Return the merged data of one dashboard."""
    files = {file: json.loads(body) for file, body in documents().items()}
    plain = dashboards() | {"schema3": dashboards()["fan3"]}
    if name in plain:
        return {section: files[path.rpartition("/")[2]] for section, path in plain[name].items()}
    items, some = files[f"list{ELEMENTS}.json"], files[f"list{CALLS}.json"]
    shaped: dict[str, object] = {
        "list": {"s0": items},
        "select": {"s0": [{"id": item["id"], "title": item["title"]} for item in items]},
        "each": {"list": some, "s0": {str(item["id"]): files["c.json"] for item in some}},
    }
    return shaped[name]
