"""The fault knobs: how slow each mock contract answers and how often it fails."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Self

NAMES = ("users", "posts", "comments", "weather", "geocoding")
"""The contracts that have knobs and that `GET /__calls` counts."""

_COVERED_BY = {"comments": "posts", "geocoding": "weather"}
"""A knob on the right covers the contract on the left, unless that has a knob of its own."""

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")


@dataclass(frozen=True, slots=True)
class Knobs:
    """The faults to inject.

    `latency` holds the seconds added before an answer, `fail` the probability (0 to 1) of a 503,
    each by name. `posts` also applies to comments and `weather` to geocoding, unless `comments` or
    `geocoding` is set. A failure has the same latency as an answer.
    """

    latency: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    fail: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def parse(cls, latency: Iterable[str] = (), fail: Iterable[str] = ()) -> Self:
        """Parse the values of `--latency` and `--fail`; the last one for a name wins.

        Raises ValueError with a message that says how to correct it.
        """
        return cls(
            latency=MappingProxyType(dict(map(parse_latency, latency))),
            fail=MappingProxyType(dict(map(parse_fail, fail))),
        )

    def latency_of(self, name: str) -> float:
        """The seconds to wait before `name` answers."""
        return _covering(self.latency, name)

    def fail_of(self, name: str) -> float:
        """The probability that `name` answers 503."""
        return _covering(self.fail, name)


def parse_latency(text: str) -> tuple[str, float]:
    """Parse `users=50ms`, the value of one `--latency`, as `("users", 0.05)` in seconds.

    Raises ValueError with a message that says how to correct it.
    """
    name, value = _split(text, example="users=50ms")
    match = _DURATION.fullmatch(value)
    if match is None:
        hint = f"did you mean {name}={value}ms?" if value.isdecimal() else f"write {name}=50ms"
        raise ValueError(f"{text!r}: a latency is a number and a unit (ms, s or m); {hint}")
    return name, float(match[1]) * _SECONDS[match[2]]


def parse_fail(text: str) -> tuple[str, float]:
    """Parse `weather=0.2`, the value of one `--fail`, as `("weather", 0.2)`, a probability.

    Raises ValueError with a message that says how to correct it.
    """
    name, value = _split(text, example="weather=0.2")
    try:
        probability = float(value)
    except ValueError:
        probability = math.nan
    if not 0 <= probability <= 1:
        rate = probability / 100
        hint = f"did you mean {name}={rate:g}?" if 0 < rate <= 1 else f"write {name}=0.2"
        raise ValueError(f"{text!r}: a failure rate is a number from 0 to 1; {hint}")
    return name, probability


def _covering(knob: Mapping[str, float], name: str) -> float:
    own = knob.get(name)
    return knob.get(_COVERED_BY.get(name, name), 0.0) if own is None else own


def _split(text: str, *, example: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise ValueError(f"{text!r}: write a name and a value, like {example}")
    if name not in NAMES:
        close = get_close_matches(name.lower(), NAMES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"the mocks are {', '.join(NAMES)}"
        raise ValueError(f"{text!r}: there is no mock {name!r}; {hint}")
    return name, value
