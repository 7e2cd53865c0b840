"""Text of plain words, drawn by a seeded generator."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

FIRST_NAMES = (
    "Amara", "Bjarne", "Carmen", "Dilip", "Elif", "Farid", "Greta", "Hana", "Ivo", "Jamila",
    "Kaito", "Lucia", "Mateus", "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Sanna", "Tomasz",
)  # fmt: skip
LAST_NAMES = (
    "Abara", "Brandt", "Castellan", "Dvorak", "Eriksen", "Fontaine", "Greenway", "Haddad",
    "Ibanez", "Jansen", "Kowal", "Lindqvist", "Moreau", "Nakata", "Okafor", "Petrov", "Quist",
    "Romano", "Silva", "Tanaka",
)  # fmt: skip
STREETS = (
    "Alder", "Birch", "Canal", "Dock", "Elm", "Foundry", "Garden", "Harbour", "Ivy", "Juniper",
    "Kiln", "Linden", "Mill", "Orchard", "Quarry", "River",
)  # fmt: skip
TRADES = (
    "Analytics", "Bakery", "Cartography", "Foods", "Instruments", "Logistics", "Optics", "Print",
    "Robotics", "Textiles", "Timber", "Works",
)  # fmt: skip
WORDS = (
    "about", "above", "across", "after", "amber", "answer", "autumn", "basket", "before", "bright",
    "bridge", "carry", "castle", "circle", "clear", "cloud", "copper", "corner", "dawn", "distant",
    "early", "engine", "evening", "faint", "field", "follow", "forest", "garden", "gather", "glass",
    "harbor", "hidden", "hollow", "island", "journey", "kettle", "lantern", "letter", "little",
    "marble", "meadow", "measure", "mirror", "morning", "narrow", "needle", "ocean", "open",
    "orange", "paper", "pebble", "quiet", "rain", "ribbon", "river", "salt", "second", "shadow",
    "signal", "silver", "simple", "slow", "stone", "story", "summer", "thread", "timber", "under",
    "valley", "velvet", "walk", "water", "window", "winter", "wonder", "yellow",
)  # fmt: skip


class Writer:
    """Draws words; writers with the same seed write the same text on every Python version."""

    __slots__ = ("_draw",)

    def __init__(self, seed: int) -> None:
        # Only random() is guaranteed to be the same in every Python version; choice() is not.
        self._draw: Callable[[], float] = Random(seed).random  # noqa: S311 - no secret

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`."""
        return items[int(self._draw() * len(items))]

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both possible."""
        return low + int(self._draw() * (high - low + 1))

    def phrase(self, low: int, high: int) -> str:
        """From `low` to `high` words."""
        return " ".join(self.pick(WORDS) for _ in range(self.between(low, high)))

    def lines(self, count: int) -> str:
        """`count` lines of six to ten words."""
        return "\n".join(self.phrase(6, 10) for _ in range(count))

    def distinct(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different members of `items`, in random order."""
        left = list(items)
        return [left.pop(int(self._draw() * len(left))) for _ in range(count)]
