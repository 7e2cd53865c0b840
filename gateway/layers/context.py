"""Layer context: what the layers of one upstream have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.call import Clock, Sleep
    from gateway.events import Events
    from gateway.layers.meter import UpstreamMeter

__all__ = ["LayerContext"]


class LayerContext(NamedTuple):
    """Whose calls the layers wrap, who hears of them, and the sources of time and randomness.

    Attributes:
        upstream: name of the upstream, for events and errors.
        events: receives the events of the layers.
        clock: monotonic seconds, the clock of the deadlines.
        now: POSIX seconds.
        sleep: waits.
        random: uniform in [0, 1).
        meter: what the layers count.
    """

    upstream: str
    events: Events
    clock: Clock
    now: Clock
    sleep: Sleep
    random: Callable[[], float]
    meter: UpstreamMeter
