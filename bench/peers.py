"""The peers: how each is installed and started. Unavailable peers are reported as missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import upstreams
import work
from servers import Server, free_port
from upstreams import HERE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_BUILD_PATIENCE = 900  # seconds; a first build also downloads what it needs
_GO_MODULE = "github.com/krakend/krakend-ce/v2/cmd/krakend-ce@latest"
_GO_RUNTIME = {"GOMAXPROCS": "1", "USAGE_DISABLE": "1"}


class MissingError(RuntimeError):
    """This machine cannot run the peer; the message says why."""


def _environment(upstream: str, port: int) -> dict[str, str]:
    return {
        "BENCH_UPSTREAM": upstream,
        "BENCH_DASHBOARDS": json.dumps(work.dashboards()),
        "BENCH_PORT": str(port),
    }


def _run(command: list[str], cwd: Path | None = None, timeout: float = 300, **env: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=cwd, timeout=timeout, env=os.environ | env, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"{command[0]}: {error}") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise MissingError(lines[-1].strip() if lines else f"{command[0]} failed")


def python(out: Path) -> Path:
    """Return the interpreter of the peers' virtual environment; create it if it is missing."""
    binary = out / "venv" / "bin" / "python"
    stamp = out / "venv" / ".installed"
    wanted = f"# {sys.version}\n" + (HERE / "requirements.txt").read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        print("==> installing the Python peers into bench/out/venv")
        _run([sys.executable, "-m", "venv", "--clear", str(out / "venv")])
        _run([str(binary), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt")])
        stamp.write_text(wanted)
    return binary


def _fastapi(module: str) -> Callable[[Path, str], Server]:
    def build(out: Path, upstream: str) -> Server:
        port = free_port()
        command = [str(python(out)), "-m", "uvicorn", f"{module}:app", "--app-dir",
                   str(HERE / "peers"), "--port", str(port), "--no-access-log",
                   "--log-level", "warning", "--backlog", "4096"]  # fmt: skip
        log = out / "logs" / f"{module}.log"
        return Server(module, command, port, log, env=_environment(upstream, port))

    return build


def _python_floor(out: Path, upstream: str) -> Server:
    port = free_port()
    command = [sys.executable, str(HERE / "floors" / "python_floor.py")]
    log = out / "logs" / "python_floor.log"
    return Server("python_floor", command, port, log, env=_environment(upstream, port))


def _node(name: str, source: str) -> Callable[[Path, str], Server]:
    def build(out: Path, upstream: str) -> Server:
        if shutil.which("node") is None or shutil.which("npm") is None:
            raise MissingError("node or npm is not installed")
        place = out / name
        place.mkdir(parents=True, exist_ok=True)
        for file in ("server.js", "package.json", "package-lock.json"):
            shutil.copy(HERE / "peers" / source / file, place / file)
        if not (place / "node_modules").exists():
            print(f"==> installing {source} into bench/out/{name}")
            _run(["npm", "ci", "--no-audit", "--no-fund"], cwd=place)
        port = free_port()
        env = _environment(upstream, port) | {"NODE_ENV": "production"}
        log = out / "logs" / f"{name}.log"
        return Server(name, ["node", "server.js"], port, log, env=env, cwd=place)

    return build


def _nginx_lua(out: Path, upstream: str) -> Server:
    if not upstreams.lua():
        raise MissingError("nginx with its Lua module is not installed")
    port = free_port()
    root = out / "nginx_lua"
    root.mkdir(parents=True, exist_ok=True)
    place = HERE / "peers" / "nginx_lua"
    location = (place / "location.template").read_text()
    locations = ""
    for name, sections in work.dashboards().items():
        names = ", ".join(f'"{section}"' for section in sections)
        calls = ", ".join(f'{{ "/upstream{path}" }}' for path in sections.values())
        text = location.replace("@NAMES@", names).replace("@CALLS@", calls)
        locations += text.replace("@NAME@", name)
    text = (place / "nginx.conf.template").read_text()
    for key, value in {
        "@MODULES@": upstreams.load_lua(), "@ROOT@": str(root), "@PORT@": str(port),
        "@UPSTREAM@": upstream.removeprefix("http://"), "@LOCATIONS@": locations,
    }.items():  # fmt: skip
        text = text.replace(key, value)
    (root / "nginx.conf").write_text(text)
    command = ["nginx", "-c", str(root / "nginx.conf"), "-e", str(root / "error.log")]
    return Server("nginx_lua", command, port, out / "logs" / "nginx_lua.log")


def _krakend(out: Path, upstream: str) -> Server:
    built = out / "krakend" / "krakend-ce"
    binary = shutil.which("krakend") or (str(built) if built.exists() else None)
    if binary is None:
        if shutil.which("go") is None:
            raise MissingError("krakend is not on the PATH and Go is not installed to build it")
        print("==> building KrakenD CE into bench/out/krakend")
        built.parent.mkdir(parents=True, exist_ok=True)
        _run(
            ["go", "install", _GO_MODULE],
            timeout=_BUILD_PATIENCE,
            GOBIN=str(built.parent),
            **_go(out),
        )
        binary = str(built)
    port = free_port()
    command = [binary, "run", "-c", str(_krakend_config(out / "krakend", upstream, port))]
    return Server("krakend", command, port, out / "logs" / "krakend.log", env=_GO_RUNTIME)


def _lura(name: str, **env: str) -> Callable[[Path, str], Server]:
    def build(out: Path, upstream: str) -> Server:
        port = free_port()
        binary = _go_build(out, "lura")
        command = [str(binary), "-c", str(_krakend_config(out / name, upstream, port))]
        log = out / "logs" / f"{name}.log"
        return Server(name, command, port, log, env=_GO_RUNTIME | env)

    return build


def _go_nethttp(out: Path, upstream: str) -> Server:
    port = free_port()
    env = _environment(upstream, port) | _GO_RUNTIME
    binary = _go_build(out, "go_nethttp")
    return Server("go", [str(binary)], port, out / "logs" / "go.log", env=env)


def _rust(out: Path, upstream: str) -> Server:
    source, target = HERE / "peers" / "rust_axum_reqwest", out / "rust_axum_reqwest"
    binary = target / "release" / "rust_axum_reqwest"
    if _outdated(binary, source):
        if shutil.which("cargo") is None:
            raise MissingError("Rust's cargo is not installed to build it")
        print("==> building axum + reqwest into bench/out/rust_axum_reqwest, some minutes")
        _run(
            ["cargo", "build", "--release", "--locked", "--target-dir", str(target)],
            cwd=source, timeout=_BUILD_PATIENCE,
        )  # fmt: skip
        binary.touch()  # cargo leaves the time of a binary that has not changed
    port = free_port()
    log = out / "logs" / "rust.log"
    return Server("rust", [str(binary)], port, log, env=_environment(upstream, port))


def _outdated(binary: Path, source: Path) -> bool:
    """Return whether the binary is missing or older than a file of its source."""
    if not binary.exists():
        return True
    built = binary.stat().st_mtime
    return any(file.stat().st_mtime > built for file in source.rglob("*") if file.is_file())


def _go_build(out: Path, name: str) -> Path:
    source, binary = HERE / "peers" / name, out / name / name
    if _outdated(binary, source):
        if shutil.which("go") is None:
            raise MissingError("Go is not installed to build it")
        print(f"==> building {name} into bench/out/{name}")
        _run(
            ["go", "build", "-o", str(binary), "."], cwd=source, timeout=_BUILD_PATIENCE, **_go(out)
        )
        binary.touch()
    return binary


def _go(out: Path) -> dict[str, str]:
    """Return environment variables that store Go's downloads in bench/out, deletable."""
    return {"GOPATH": str(out / "go"), "GOFLAGS": "-modcacherw"}


def _krakend_config(place: Path, upstream: str, port: int) -> Path:
    endpoints = [
        {
            "endpoint": f"/{name}",
            "timeout": "30s",
            "backend": [
                {"url_pattern": path, "group": section, "host": [upstream]}
                for section, path in sections.items()
            ],
        }
        for name, sections in work.dashboards().items()
    ]
    config = {"version": 3, "port": port, "timeout": "30s", "max_idle_connections_per_host": 512,
              "endpoints": endpoints}  # fmt: skip
    path = place / "krakend.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=1))
    return path


PEERS: dict[str, tuple[str, Callable[[Path, str], Server]]] = {
    "new_client": ("FastAPI, new httpx client per call", _fastapi("fastapi_new_client")),
    "shared_httpx": ("FastAPI, shared httpx client", _fastapi("fastapi_shared_httpx")),
    "aiohttp": ("FastAPI, aiohttp", _fastapi("fastapi_aiohttp")),
    "node": ("Node fastify + undici", _node("node", "node_fastify_undici")),
    "node_dispatch": ("Node undici pool.dispatch", _node("node_dispatch", "node_dispatch")),
    "nginx_lua": ("nginx + Lua with cjson", _nginx_lua),
    "rust": ("Rust axum + reqwest", _rust),
    "go": ("Go net/http", _go_nethttp),
    "krakend": ("KrakenD CE", _krakend),
    "lura": ("Lura (KrakenD CE's engine)", _lura("lura")),
    "lura_gogc400": ("Lura with GOGC=400", _lura("lura_gogc400", GOGC="400")),
    "python_floor": ("floor: uvloop + httptools + orjson", _python_floor),
}
