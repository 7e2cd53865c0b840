"""The commands on the pages work, and print what the pages show."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import ROOT, blocks, name_of
from tests.docs.story import Story
from tests.redis_server import running

if TYPE_CHECKING:
    from pathlib import Path

README = ROOT / "README.md"
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))


@pytest.mark.no_cover
@pytest.mark.timeout(600)  # a page starts up to eight servers
@pytest.mark.skipif(shutil.which("curl") is None, reason="the pages use curl")
@pytest.mark.parametrize("page", [README, ROOT / "docs" / "tutorial.md", *HOW_TO], ids=name_of)
def test_the_page_works_from_its_top_to_its_end(page: Path, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        ports = {}
        if ":6379" in page.read_text():
            (tmp_path / "redis").mkdir()
            ports["6379"] = stack.enter_context(running(tmp_path / "redis")).port
        story = Story(page, tmp_path, **ports)
        stack.callback(story.end)
        story.play()


def test_the_answer_in_the_readme_is_that_of_the_demo(tmp_path: Path) -> None:
    shown = next(block for block in blocks(README) if block.language == "json")
    story = Story(README, tmp_path)
    try:
        story.serve("gateway demo --port 8000")
        assert story.shown("/dashboard/1", json.loads(shown.text)) == []
    finally:
        story.end()


def test_a_page_that_shows_another_answer_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```sh\necho \'{"a": [1, 2], "b": 1}\'\n```\n```json output\n{"a": [2]}\n```\n')
    with pytest.raises(AssertionError, match=r"page.md:4: .*a\[0\]: 2 is 1"):
        Story(page, tmp_path).play()


def test_a_command_that_fails_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\ngateway check missing.yaml\n```\n")
    with pytest.raises(AssertionError, match=r"page.md:1: gateway check missing.yaml"):
        Story(page, tmp_path).play()
