"""What a page of HTML loads, and what it has inline."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["Links"]


class Links(HTMLParser):
    """The parts of a page that a content security policy judges.

    Attributes:
        loaded: the attributes of each element that loads a script or a style.
        inline: styles and handlers that a policy without `unsafe-inline` ignores.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[dict[str, str | None]] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in found):
            self.inline.append(tag)
        self.inline += [name for name in found if name.startswith("on") or name == "style"]
        if tag == "script" or (tag == "link" and found.get("rel") == "stylesheet"):
            self.loaded.append(found)

    @property
    def paths(self) -> list[str]:
        """What it loads."""
        return [one.get("src") or one.get("href") or "" for one in self.loaded]
