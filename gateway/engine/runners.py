"""The kinds of sections: selects the runner for each section of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.engine.call import BoundSource, CallRunner
from gateway.engine.for_each import ForEachRunner
from gateway.engine.race import RaceRunner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.call import Call, Clock
    from gateway.engine.context import Runner
    from gateway.offload import Offload
    from gateway.plan.model import Plan, Section

__all__ = ["bind"]


def bind(
    plan: Plan, calls: Mapping[str, Call], clock: Clock, offload: Offload | None
) -> tuple[Runner, ...]:
    """Return a runner for each section of `plan`, bound to the Calls of its upstreams.

    Args:
        plan: the plan.
        calls: the Call of each upstream.
        clock: monotonic seconds, the clock of the deadlines.
        offload: shapes large answers; without it they are shaped on the event loop.
    """
    return tuple(_runner(plan, section, calls, clock, offload) for section in plan.sections)


def _runner(
    plan: Plan,
    section: Section,
    calls: Mapping[str, Call],
    clock: Clock,
    offload: Offload | None,
) -> Runner:
    """Return the runner of a section. Add a line here for a new kind of section."""
    sources = [
        BoundSource(section, source, calls[source.upstream], clock, offload)
        for source in section.sources
    ]
    if section.for_each is not None:
        return ForEachRunner(plan, section, section.for_each, sources[0])
    if len(sources) > 1:
        return RaceRunner(section, sources, clock)
    return CallRunner(section, sources[0])
