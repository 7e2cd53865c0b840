"""The floor plan of docs/architecture.md, held: imports go strictly downward."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(gateway.__file__).parent

# The longest prefix decides. Modules of one floor may import each other only where they are parts
# of one thing (PARTS), or in the order of the list.
FLOORS: list[list[str]] = [
    ["errors", "units", "events", "policy", "logs", "suggestion", "restrictions", "excerpt"],
    ["call", "timer", "nursery", "cache_control", "freshness", "keys", "redirects", "retry_after", "json_schema", "nesting", "strict_json", "content_type"],
    ["store", "transport", "ingress", "http_call", "layers"],
    ["outcome", "reference", "expression_mistakes", "template", "parameter", "shaping", "config.models", "plan",
     "compiler", "config", "race",
     "batch", "for_each", "fanout", "merge", "explain", "prefetch"],
    ["upstream", "event_log"],
    ["web"],
    ["mock"],
    ["app"],
    ["commands"],
    ["cli", "__main__"],
]  # fmt: skip

PLACES = {name: (floor, at) for floor, names in enumerate(FLOORS) for at, name in enumerate(names)}

# Parts of layers, not layers.
PARTS = {"layers.budget", "layers.gradient", "layers.refreshes"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(ROOT.rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            yield name, ast.parse(file.read_text())


def imported(tree: ast.Module, *, types: bool = False) -> Iterator[str]:
    """Yield the modules that are imported at run time; with `types` those for types only too."""

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            if typing and not types:
                continue
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    path = ROOT.parent.joinpath(*whole.split("."))
                    is_module = path.is_dir() or path.with_suffix(".py").exists()
                    yield whole if is_module else child.module
            yield from visit(child)

    return visit(tree)


def place(module: str) -> tuple[int, int]:
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        found = PLACES.get(".".join(parts[:length]))
        if found is not None:
            return found
    raise AssertionError(f"{module} is on no floor; give it one in docs/architecture.md and here")


def test_imports_go_strictly_downward() -> None:
    wrong = []
    for name, tree in modules():
        for target in imported(tree):
            if not target.startswith("gateway."):
                continue
            below = target.removeprefix("gateway.")
            same_package = name.split(".")[0] == below.split(".")[0]
            if not same_package and place(below) >= place(name):
                wrong.append(f"{name} imports {below}")
    assert wrong == []


# Who is handed the walk has to name its type; the walk imports them.
UPWARD_FOR_TYPES = {("race", "fanout"), ("for_each", "fanout"), ("batch", "fanout")}


def test_imports_for_types_go_downward_too_but_for_a_few() -> None:
    upward = {
        (name, below)
        for name, tree in modules()
        for target in imported(tree, types=True)
        if (below := target.removeprefix("gateway.")) != target
        and name.split(".")[0] != below.split(".")[0]
        and place(below) >= place(name)
    }
    assert upward == UPWARD_FOR_TYPES


def test_no_ring_of_imports() -> None:
    """Inside of a package too, where the floors say nothing."""
    graph = {
        name: {target.removeprefix("gateway.") for target in imported(tree)} - {name}
        for name, tree in modules()
    }
    while free := [name for name, targets in graph.items() if not targets & graph.keys()]:
        for name in free:
            del graph[name]
    assert graph == {}


def test_sibling_layers_never_import_each_other() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, tree in modules()
        if name.startswith("layers.")
        for target in imported(tree)
        if target.startswith("gateway.layers.") and target.removeprefix("gateway.") not in PARTS
    ]
    assert wrong == []


def users_of(*libraries: str) -> set[str]:
    return {
        name
        for name, tree in modules()
        if any(target.split(".")[0] in libraries for target in imported(tree))
    }


def test_only_the_store_knows_redis_and_aiocache() -> None:
    assert {name.split(".")[0] for name in users_of("redis", "aiocache")} == {"store"}


def test_only_the_transport_speaks_http_to_upstreams() -> None:
    # http_call maps httpx's errors; the purge command is a client of the gateway itself.
    users = {name.split(".")[0] for name in users_of("httpx", "httpcore", "httptools")}
    assert users == {"transport", "http_call", "commands"}
    assert users_of("aiohttp", "requests", "urllib3") == set()
    others = {"urllib.request", "http.client"}
    assert not [name for name, tree in modules() if others & set(imported(tree))]


def test_layers_know_neither_settings_nor_the_framework() -> None:
    for name, tree in modules():
        if name.split(".")[0] in {"layers", "transport", "store", "fanout", "merge", "plan"}:
            targets = set(imported(tree))
            assert not any(
                target.startswith(
                    ("fastapi", "starlette", "pydantic_settings", "gateway.config.set")
                )
                for target in targets
            ), name


def test_there_are_no_drawers_for_odds_and_ends() -> None:
    names = {file.stem for file in ROOT.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc", "manager"}


def test_nothing_happens_at_import() -> None:
    """No module makes an application, a client or settings when it is imported."""
    for name, tree in modules():
        for statement in tree.body:
            value = getattr(statement, "value", None)
            if isinstance(value, ast.Call):
                called = ast.unparse(value.func)
                assert called.split(".")[-1] not in {
                    "FastAPI", "Settings", "create_app", "Redis", "Typer", "AsyncClient", "read",
                }, f"{name}: {called}"  # fmt: skip
