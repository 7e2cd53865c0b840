"""Everything that one process counts, by the names that the configuration gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections import Counter

    from gateway.layers.meter import UpstreamMeter
    from gateway.telemetry.tally import Tally
    from gateway.web.meter import DashboardMeter

__all__ = ["Meters"]


class Meters(NamedTuple):
    """The counts of one process; a reload goes on with them.

    Attributes:
        upstreams: the counts of each upstream.
        dashboards: the counts of each dashboard.
        tally: the counts of rare events.
        reloads: reloads of the configuration, by result.
    """

    upstreams: dict[str, UpstreamMeter]
    dashboards: dict[str, DashboardMeter]
    tally: Tally
    reloads: Counter[str]
