"""The package order of docs/architecture.md, held: imports go strictly downward, types included."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(gateway.__file__).parent
DOCUMENT = ROOT.parent / "docs" / "architecture.md"
LAYOUT = re.search(r"```\ngateway/\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
assert LAYOUT is not None
# From the bottom up, one level a line: `errors.py events.py   what they are`.
ORDER = [
    name.rstrip("/").removesuffix(".py")
    for line in LAYOUT[1].splitlines()
    for name in re.findall(r"\S+", re.split(r"\s{3,}", line.strip())[0])
]
PARTS_OF_LAYERS = {"layers.budget", "layers.context", "layers.gradient", "layers.meter",
                   "layers.passage"}  # fmt: skip


@functools.cache
def modules() -> dict[str, ast.Module]:
    named = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted(ROOT.rglob("*.py"))
    }
    return {n: ast.parse(file.read_text()) for n, file in named.items() if n != "__init__"}


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that are imported, at run time or for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                path = ROOT.parent.joinpath(*whole.split("."))
                is_module = path.is_dir() or path.with_suffix(".py").exists()
                yield whole if is_module else node.module


@functools.cache
def imports() -> dict[str, frozenset[str]]:
    return {name: frozenset(imported(tree)) for name, tree in modules().items()}


def graph() -> dict[str, set[str]]:
    """Return the modules of the gateway that each of them imports."""
    return {
        name: {target.removeprefix("gateway.") for target in targets
               if target.startswith("gateway.")}
        for name, targets in imports().items()
    }  # fmt: skip


def place(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def users_of(*libraries: str) -> set[str]:
    return {
        name
        for name, targets in imports().items()
        if any(target.split(".")[0] in libraries for target in targets)
    }


def test_every_module_has_its_place_in_the_document() -> None:
    assert {place(name) for name in graph()} == set(ORDER)


def test_imports_go_strictly_downward() -> None:
    rank = {name: at for at, name in enumerate(ORDER)}
    assert not [
        f"{name} imports {target}"
        for name, targets in graph().items()
        for target in targets
        if place(name) != place(target) and rank[place(target)] >= rank[place(name)]
    ]


def test_there_is_no_cycle_of_imports() -> None:
    left = {name: targets - {name} for name, targets in graph().items()}
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def test_layers_never_import_each_other() -> None:
    assert not [
        f"{name} imports {target}"
        for name, targets in graph().items()
        for target in targets - PARTS_OF_LAYERS
        if place(name) == place(target) == "layers"
    ]


def test_only_the_redis_store_knows_redis_and_aiocache() -> None:
    assert all(name.startswith("cache.store.redis") for name in users_of("redis", "aiocache"))


def test_only_the_transport_speaks_http_to_upstreams() -> None:
    # upstreams.http.call maps httpx's errors; a command is a client of the gateway itself.
    users = {place(name) for name in users_of("httpx", "httpcore")}
    assert users == {"transport", "upstreams", "commands"}
    assert {place(name) for name in users_of("httptools")} == {"transport", "server"}
    assert users_of("aiohttp", "requests", "urllib3") == set()


def test_what_is_below_the_web_knows_no_framework_and_no_settings() -> None:
    below = set(ORDER[: ORDER.index("web")])
    assert not {name for name in users_of("fastapi", "starlette") if place(name) in below}
    assert not {
        name
        for name, targets in graph().items()
        if "config.settings" in targets and place(name) in below - {"config"}
    }


def test_there_are_no_modules_for_odds_and_ends() -> None:
    names = {file.stem for file in ROOT.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "common", "misc", "manager"}


def test_nothing_happens_at_import() -> None:
    made = {"FastAPI", "Settings", "create_app", "Redis", "Typer", "AsyncClient", "read"}
    assert not [
        f"{name}: {ast.unparse(value.func)}"
        for name, tree in modules().items()
        for statement in tree.body
        if isinstance(value := getattr(statement, "value", None), ast.Call)
        and ast.unparse(value.func).split(".")[-1] in made
    ]
