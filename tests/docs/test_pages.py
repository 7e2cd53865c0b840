"""What the pages name exists: links, configurations, commands, error codes, metrics, variables."""

from __future__ import annotations

import ast
import json
import re
import shlex
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from gateway import cli
from gateway.app import create_app
from gateway.config.models import SectionConfig
from gateway.config.settings import Settings
from gateway.errors import ErrorCode
from gateway.upstreams.http.config import HttpUpstreamConfig
from tests.docs.pages import ROOT, Block, anchors, blocks, links, name_of, pages
from tests.serving import admin, asked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCS = ROOT / "docs"
HTTP = DOCS / "reference" / "http.md"
TOPS = (ROOT, ROOT / "gateway", ROOT / "bench")


def found(*languages: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{name_of(page)}:{block.line}")
        for page in pages()
        for block in blocks(page)
        if block.language in languages
    ]


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for link in links(page):
        path, _, anchor = unquote(link).partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_the_index_names_every_page() -> None:
    index = DOCS / "README.md"
    named = {(DOCS / link.partition("#")[0]).resolve() for link in links(index)}
    assert {page for page in DOCS.rglob("*.md") if page != index} <= named


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Return a whole configuration around a part of one, such as an upstream's `cache`."""
    upstream = {"base_url": "https://api.example.com"}
    section: dict[str, Any] = {}
    if not document.keys() & {"upstreams", "dashboards", "web"}:
        names = {field.alias or name for name, field in HttpUpstreamConfig.model_fields.items()}
        if document.keys() <= names:
            upstream |= document
        else:
            assert document.keys() <= SectionConfig.model_fields.keys()
            section |= document
        document = {}
    document.setdefault("upstreams", {"api": upstream})
    if "dashboards" not in document:
        section = {"get": f"{next(iter(document['upstreams']))}:/"} | section
        document["dashboards"] = {"page": {"path": "/page", "sections": {"part": section}}}
    return document


@pytest.mark.parametrize("block", [b for b in found("yaml") if not b.values[0].value("append")])
def test_every_configuration_passes_the_check(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in re.findall(r"\$\{([A-Z_]+)\}", block.text):
        monkeypatch.setenv(variable, "set")
    file = tmp_path / "shown.yaml"
    file.write_text(yaml.safe_dump(completed(yaml.safe_load(block.text)), sort_keys=False))
    checked = CliRunner().invoke(cli.app(), ["check", str(file)])
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize("block", found("json"))
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", found("python"))
def test_python_can_be_parsed(block: Block) -> None:
    ast.parse(block.text)


def commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        yield from [words] if words else []


@pytest.mark.parametrize("block", found("sh"))
def test_every_command_and_option_exists(block: Block) -> None:
    """Those of `sh manual` too, which nothing runs."""
    makefile = (ROOT / "Makefile").read_text()
    for program, *arguments in commands(block.text):
        if program == "make":
            assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE)
        elif program.rpartition("/")[2] == "gateway" and arguments != ["--help"]:
            command: Any = typer.main.get_command(cli.app())
            name, *rest = arguments[: arguments.index(">")] if ">" in arguments else arguments
            if rest != ["--help"]:
                command.commands[name].make_context(name, rest)


def first_cells(page: Path, heading: str) -> set[str]:
    """Return what stands as code in the first column of the tables below a heading."""
    text = page.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))


def test_every_error_code_is_explained() -> None:
    assert first_cells(HTTP, "Errors of sections") >= set(ErrorCode)


def test_every_state_is_explained() -> None:
    schemas = create_app(ROOT / "config" / "gateway.yaml").openapi()["components"]["schemas"]
    assert first_cells(HTTP, "States") == set(schemas["SectionState"]["enum"])


async def test_every_metric_of_the_gateway_is_explained() -> None:
    app = create_app(ROOT / "config" / "gateway.yaml", Settings.read({"redis_url": None}))
    async with asked(admin(app)) as operator:
        text = (await operator.get("/metrics")).text
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in text_string_to_metric_families(text)
        if family.name.startswith("gateway_")
    }
    shown = first_cells(HTTP, "Operations")
    assert names
    assert names <= shown
    assert {name for name in shown if name.startswith("gateway_")} - names == {"gateway_store_up"}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    named = set(re.findall(r"`((?:[a-z_0-9]+/)+(?:[a-z_0-9]+\.py)?)`", prose))
    assert [path for path in named if not any((top / path).exists() for top in TOPS)] == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_variable_that_a_page_names_is_read(page: Path) -> None:
    named = set(re.findall(r"\bGATEWAY_[A-Z_]+\b", page.read_text()))
    read = {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} | {"GATEWAY_CONFIG"}
    assert named <= read
