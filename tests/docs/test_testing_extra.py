"""The async test of the guide runs with the `[testing]` extra alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def plugins_of_the_testing_extra() -> list[str]:
    """Return the options that load the pytest plugins which `[testing]` installs, and no others."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [
        option
        for requirement in project["optional-dependencies"]["testing"]
        for plugin in distribution(Requirement(requirement).name).entry_points
        if plugin.group == "pytest11"
        for option in ("-p", plugin.value)
    ]


@pytest.mark.no_cover
def test_the_async_test_in_the_guide_runs_as_it_is_written(tmp_path: Path) -> None:
    guide = ROOT / "docs" / "how-to" / "test-dashboards.md"
    blocks = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    (example,) = (block for block in blocks if "pytest.mark.asyncio" in block)
    (tmp_path / "test_example.py").write_text(example)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # that of a user who has configured nothing
    (tmp_path / "config").mkdir()
    shutil.copy(ROOT / "config" / "gateway.yaml", tmp_path / "config")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "PYTEST_"))}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins_of_the_testing_extra()],
        cwd=tmp_path,
        env={**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 passed" in ended.stdout
