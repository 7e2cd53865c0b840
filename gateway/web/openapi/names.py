"""The names of the schemas in the OpenAPI document: readable, distinct and stable.

`UserDashboard` is the document of the dashboard `user_dashboard`, `UserDashboardProfile` the value
of its section `profile`. Names that would differ only in capitals get a number. No name depends on
the order of declaration, so moving a dashboard or a section in the file changes no client.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["Names"]

_PARTS = ("", "Sections", "Meta", "Event", "Line", "CompleteEvent")
"""What each dashboard has, after the dashboard's own name."""
_OF_SECTIONS = ("", "Event", "Element", "ElementEvent")
"""What each section has, after the dashboard's and the section's name."""


class Names:
    """Names the schemas of all dashboards.

    Args:
        sections: the names of the sections, by the name of their dashboard.
        taken: names that other schemas have.
    """

    def __init__(self, sections: Mapping[str, Sequence[str]], taken: Iterable[str] = ()) -> None:
        self._taken = {name.casefold() for name in taken}
        self._dashboards: dict[str, str] = {}
        self._parts: dict[tuple[str, str], str] = {}
        self._sections: dict[tuple[str, str, str], str] = {}
        for dashboard, name in self._distinct((d, _camel(d) or "Dashboard") for d in sections):
            self._dashboards[dashboard] = self._parts[dashboard, ""] = name
        for dashboard in _ordered(sections):
            for part in _PARTS[1:]:
                self._parts[dashboard, part] = self._free(self._dashboards[dashboard] + part)
        for dashboard in _ordered(sections):
            base = self._dashboards[dashboard]
            for part in _OF_SECTIONS:
                wanted = ((one, base + _camel(one) + part) for one in sections[dashboard])
                for section, name in self._distinct(wanted):
                    self._sections[dashboard, section, part] = name

    def dashboard(self, dashboard: str, part: str = "") -> str:
        """Return the name of a dashboard's document, or of a part of it such as `Meta`."""
        return self._parts[dashboard, part]

    def section(self, dashboard: str, section: str, part: str = "") -> str:
        """Return the name of a section's value, or of a part such as `Element`."""
        return self._sections[dashboard, section, part]

    def _distinct(self, wanted: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        """Yield each key with a free name.

        Of several keys that want one name, the shortest and then the first in the alphabet gets it.
        Numbers are given out last, so that they take no name that another key wants.
        """
        names = dict(wanted)
        numbered = []
        for key in _ordered(names):
            if names[key].casefold() in self._taken:
                numbered.append(key)
            else:
                yield key, self._free(names[key])
        for key in numbered:
            yield key, self._free(names[key])

    def _free(self, name: str) -> str:
        """Return `name`, with a number if it is taken, and take it."""
        numbered = (f"{name}{number}" for number in count(2))
        free = name
        while free.casefold() in self._taken:
            free = next(numbered)
        self._taken.add(free.casefold())
        return free


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(name), name))


def _camel(name: str) -> str:
    """Return a name in camel case; it begins with a letter unless it is empty."""
    camel = "".join(word[:1].upper() + word[1:] for word in name.replace("-", "_").split("_"))
    return f"N{camel}" if camel[:1].isdigit() else camel
