"""The files around the code: workflows, templates, hooks and what the wheel carries."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(f for f in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if f.stem != "config")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in read(workflow)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize(
    "file",
    sorted(
        [*GITHUB.rglob("*.yml"), *(ROOT / "k8s").rglob("*.yaml"), ROOT / ".pre-commit-config.yaml"]
    ),
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_every_yaml_file_can_be_read(file: Path) -> None:
    assert [one for one in yaml.safe_load_all(file.read_text()) if one is not None]


def test_the_suite_runs_on_every_python_of_the_classifiers() -> None:
    matrix = read(GITHUB / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    classifiers = [
        found[1]
        for classifier in PROJECT["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (\d+\.\d+)", classifier))
    ]
    assert matrix["python-version"] == classifiers
    assert PROJECT["requires-python"] == f">={classifiers[0]}"


def test_the_workflow_runs_what_a_newcomer_runs() -> None:
    workflow = read(GITHUB / "workflows" / "ci.yml")
    commands = {
        name: " ".join(step.get("run", "") for step in job["steps"])
        for name, job in workflow["jobs"].items()
    }
    assert commands["test"].split() == [".ci/run"]
    assert "uv build" in commands["wheel"]
    assert "docker build" in commands["image"]
    assert "docker run --detach --read-only" in commands["image"]
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_a_version_and_say_why_they_are_used(workflow: Path) -> None:
    used = re.findall(r"uses: *(\S+)(.*)", workflow.read_text())
    assert len(used) == sum("uses" in step for step in steps(workflow))
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+(\.\d+)*", action)
        assert comment.strip().startswith("# ")


@pytest.mark.parametrize("form", FORMS, ids=lambda file: file.name)
def test_issue_forms_have_what_github_needs(form: Path) -> None:
    document = read(form)
    assert document["name"]
    assert document["description"]
    ids = [part["id"] for part in document["body"] if part["type"] != "markdown"]
    assert ids
    assert len(ids) == len(set(ids))
    for part in document["body"]:
        assert part["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        assert part["attributes"]["value" if part["type"] == "markdown" else "label"]


def test_dependency_updates_cover_python_npm_actions_and_images() -> None:
    updates = read(GITHUB / "dependabot.yml")["updates"]
    covered = {update["package-ecosystem"] for update in updates}
    assert covered == {"uv", "npm", "github-actions", "docker"}
    assert all((ROOT / update["directory"].lstrip("/")).is_dir() for update in updates)


def test_the_hooks_run_what_make_check_runs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    entries = [hook["entry"] for repo in read(ROOT / ".pre-commit-config.yaml")["repos"]
               for hook in repo["hooks"]]  # fmt: skip
    programs = {entry.removeprefix(".venv/bin/").split(" --")[0] for entry in entries}
    assert programs == {"ruff check", "ruff format", "mypy", "gateway check", "make schema"}
    for program in programs - {"make schema"}:
        assert f"$(BIN)/{program}" in makefile


def test_the_versions_of_uv_agree() -> None:
    version = re.search(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert version is not None
    for file in ("pyproject.toml", "image/requirements.txt"):
        assert f"uv=={version[1]}" in (ROOT / file).read_text()


def test_the_wheel_carries_the_shipped_configuration_and_the_types(tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("gateway", "config"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        shipped = archive.read("gateway/shipped/gateway.yaml").decode()
    assert shipped == (ROOT / "config" / "gateway.yaml").read_text()
    assert "gateway/py.typed" in names
    assert {
        str(file.relative_to(ROOT))
        for folder in ("web/docs", "commands/demo_page")
        for file in (ROOT / "gateway" / folder).rglob("*.*")
        if file.suffix != ".pyc"
    } <= names
    assert not any(name.startswith(("tests/", "bench/", "docs/")) for name in names)
