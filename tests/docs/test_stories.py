"""What the pages tell to type works, and prints what they show."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import ROOT, name_of
from tests.docs.story import told

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the pages use curl")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_page_works_from_its_top_to_its_end(page: Path, tmp_path: Path) -> None:
    with told(page, tmp_path):
        pass
