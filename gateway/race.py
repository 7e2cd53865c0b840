"""A race: several sources asked at once, the first good answer wins, the others are cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway import nursery
from gateway.errors import CallError, UpstreamPayload
from gateway.outcome import Fault, Outcome, State

if TYPE_CHECKING:
    from gateway.fanout import Walk
    from gateway.plan import Section, Source

__all__ = ["run"]


async def run(walk: Walk, section: Section) -> Outcome:
    """Return the first good outcome, or one that failed with every source's fault."""
    runners = [walk.loop.create_task(_runner(walk, section, source)) for source in section.sources]
    running = set(runners)
    try:
        while running:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for runner in runners:  # of two that end at once the one declared first wins
                if runner.done():
                    outcome = runner.result()
                    if outcome.usable:
                        return outcome
        faults = tuple(fault for runner in runners for fault in runner.result().faults)
        return Outcome(State.FAILED, faults=faults)
    finally:
        await nursery.end(runners)


async def _runner(walk: Walk, section: Section, source: Source) -> Outcome:
    try:
        outcome = walk.good(section, source, await walk.fetch(section, source, walk.scope))
        if source.select is not None and outcome.value is None:
            raise UpstreamPayload("its select found nothing", upstream=source.upstream)
    except CallError as error:
        return Outcome(State.FAILED, faults=(Fault(error),))
    return outcome
