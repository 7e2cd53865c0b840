"""The Markdown pages of the repository: their headings, links and fenced blocks.

The words after a block's language say what a test does with it; readers do not see them:

- ``yaml file=NAME`` (any language): the block is the file NAME. ``append=NAME`` adds to it.
- ``sh``: the commands are run and must succeed.
- ``sh serve``: the command serves in the background, in place of an earlier one of that name.
- ``sh manual``: not run, as it needs Docker, a cluster or minutes; its commands must exist.
- ``json output``, ``text output``: part of what the commands before it print.
- ``ts run=node``, ``ts run=browser``, ``text printed``: `clients/typescript/test/docs.test.ts` runs them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(.*)$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$")


class Block(NamedTuple):
    """A fenced block."""

    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def value(self, name: str) -> str | None:
        """Return the value of `name=value` among the words."""
        found = [word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")]
        return found[0] if found else None


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"),
                   *(ROOT / ".github").rglob("*.md"), ROOT / "bench" / "README.md",
                   ROOT / "clients" / "typescript" / "README.md"])  # fmt: skip


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    opened: Block | None = None
    text: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if fence is None:
            text.append(line)
        elif opened is None:
            language, *words = fence[1].split() or [""]
            opened, text = Block(number, language, tuple(words), ""), []
        else:
            yield opened._replace(text="\n".join(text) + "\n")
            opened = None
    assert opened is None, f"{page}: the block of line {opened.line} is not closed"


def prose(page: Path) -> str:
    """Return the page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    found: set[str] = set()
    for line in prose(page).splitlines():
        if heading := _HEADING.match(line):
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).strip().lower()
            found.add("".join(c for c in text if c.isalnum() or c in " _-").replace(" ", "-"))
    return found
