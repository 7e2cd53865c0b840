"""Runs a page from its top to its end, as a reader would, in a directory of its own."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from gateway import cli
from gateway.cache.store.redis.store import RedisStore
from tests.commands.processes import clean_environment, get
from tests.docs.pages import ROOT, Block, blocks
from tests.ports import reserved_port
from tests.waiting import until_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from multiprocessing.context import ForkServerProcess

_PORT = re.compile(r"\b(8000|8001|9000|6379)\b")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_COMMAND = re.compile(
    r"(?P<environment>(?:[A-Z_]+=\S* )*)gateway (?P<rest>[^|>]*)(?:> (?P<file>\S+))?"
)
_PATIENCE = 120

# Each command is a process of its own. It is forked from one that has imported everything, because
# the imports take two seconds of a core.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["tests.docs.story", *(f"gateway.commands.{name}" for name in cli.COMMANDS)]
)


class Story:
    """A page under way: its files, its environment and what it serves.

    The ports that pages use (8000, 8001, 9000, 6379) stand for free ones.
    """

    def __init__(self, page: Path, place: Path, **ports: int) -> None:
        self._page = page
        self._place = place
        free = {number: reserved_port() for number in ("8000", "8001", "9000")}
        self._ports = {**free, **ports}
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = clean_environment(
            PATH=programs,
            GATEWAY_PORT=str(self._ports["8000"]),
            GATEWAY_ADMIN_PORT=str(self._ports["8001"]),
            PYTHONPATH=str(ROOT),
            PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",  # those of the suite take ten seconds to import
        )
        self._serving: dict[str, ForkServerProcess] = {}
        self._printed = ""

    def play(self) -> None:
        """Run every block."""
        for block in blocks(self._page):
            try:
                self._play(block)
            except AssertionError as error:
                raise AssertionError(f"{self._page}:{block.line}: {error}") from error

    def serve(self, command: str) -> None:
        """Start a command that serves, and wait until it does."""
        self._run(self._own_ports(command), serve=True)

    def shown(self, path: str, expected: Any) -> list[str]:
        """Return where the gateway's answer differs from what a page shows of it."""
        url = f"http://localhost:{self._ports['8000']}{path}"
        found = get(url).json()
        return list(_missing(expected, found, "answer"))

    def end(self) -> None:
        """Stop what serves."""
        for process in self._serving.values():
            _stop(process)

    def _play(self, block: Block) -> None:
        text = self._own_ports(block.text)
        if name := block.value("file"):
            (self._place / name).write_text(text)
        elif name := block.value("append"):
            with (self._place / name).open("a") as file:
                file.write(text)
        elif "output" in block.words:
            self._compare(block.language, text)
        elif block.language == "sh" and "manual" not in block.words:
            self._printed = ""
            for line in text.replace("\\\n", " ").splitlines():
                self._run(line.partition("  #")[0].strip(), serve="serve" in block.words)

    def _own_ports(self, text: str) -> str:
        return _PORT.sub(lambda match: str(self._ports.get(match[1], match[1])), text)

    def _run(self, line: str, *, serve: bool) -> None:
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self._environment[name] = shlex.split(value)[0]
        elif command := _COMMAND.fullmatch(line):
            self._gateway(command, serve=serve)
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line],  # noqa: S607 - that of the reader
                cwd=self._place,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
            self._printed += done.stdout

    def _gateway(self, command: re.Match[str], *, serve: bool) -> None:
        arguments = shlex.split(command["rest"])
        own = dict(pair.split("=", 1) for pair in shlex.split(command["environment"]))
        name = arguments[0]
        if serve and name in self._serving:
            _stop(self._serving.pop(name))
        output = self._place / (command["file"] or f"{name}.out")
        environment = self._environment | own
        process = _PROCESSES.Process(
            target=_run_gateway,
            args=(arguments, str(self._place), environment, str(output)),
            daemon=True,
        )
        process.start()
        if serve:
            self._serving[name] = process
            self._await(command[0], process, self._ports["9000" if name == "mock" else "8000"])
            return
        process.join(_PATIENCE)
        printed = output.read_text()
        assert process.exitcode == 0, f"{command[0]}\n{printed}"
        self._printed += "" if command["file"] else printed

    def _await(self, command: str, process: ForkServerProcess, port: int) -> None:
        def answers() -> bool:
            with suppress(httpx.TransportError):
                get(f"http://localhost:{port}/healthz")
                return True
            assert process.is_alive(), f"`{command}` ended with {process.exitcode}"
            return False

        until_blocking(answers)

    def _compare(self, language: str, expected: str) -> None:
        if language == "json":
            found = json.loads(self._printed)
            wrong = list(_missing(json.loads(expected), found, "answer"))
            assert wrong == [], f"{wrong} in {self._printed}"
            return
        lines = iter(_squeezed(self._printed))
        for line in _squeezed(expected):
            assert any(line in found for found in lines), f"no {line!r} in:\n{self._printed}"


def _run_gateway(
    arguments: list[str], place: str, environment: Mapping[str, str], output: str
) -> None:
    """Be the command `gateway ARGUMENTS > OUTPUT`, in a process of its own."""
    os.chdir(place)
    os.environ.clear()
    os.environ.update(environment)
    with Path(output).open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["gateway", *arguments]
    # The store of a page is not late, the machine may be: a gateway waits 40 ms for Redis.
    patience: Any = RedisStore.__init__.__kwdefaults__
    patience["timeout"] = 5.0
    try:
        cli.main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _stop(process: ForkServerProcess) -> None:
    process.terminate()
    process.join(15)
    if process.is_alive():
        process.kill()
        process.join(5)


def _squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _missing(expected: Any, found: Any, where: str) -> Iterator[str]:
    """Yield what the page shows and the answer does not have; pages leave things out."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key, value in expected.items():
            if key in found:
                yield from _missing(value, found[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}"
    elif isinstance(expected, list) and isinstance(found, list) and expected:
        if len(found) < len(expected):
            yield f"{where}[{len(found)}]"
        for at, (one, other) in enumerate(zip(expected, found, strict=False)):
            yield from _missing(one, other, f"{where}[{at}]")
    elif isinstance(expected, str) and _TIMESTAMP.fullmatch(expected):
        if not _TIMESTAMP.fullmatch(str(found)):
            yield where
    elif expected != found:
        yield f"{where}: {expected!r} is {found!r}"
