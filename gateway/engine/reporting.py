"""Reports the failures of a section as events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import CallError
from gateway.events import SectionFailed, cause_of

if TYPE_CHECKING:
    from gateway.engine.outcome import Outcome
    from gateway.events import Events

__all__ = ["report"]


def report(events: Events, dashboard: str, section: str, outcome: Outcome) -> None:
    """Emit the failures of a section: one event for each kind of error."""
    if not events.wants(SectionFailed):
        return
    errors = [fault.error for fault in outcome.faults]
    reason = outcome.provenance.reason
    if isinstance(reason, CallError):
        errors.append(reason)
    kinds: dict[tuple[str, str | None], list[CallError]] = {}
    for error in errors:
        kinds.setdefault((error.code, error.upstream), []).append(error)
    for (_, upstream), alike in kinds.items():
        events.emit(
            SectionFailed(
                upstream or "", section, dashboard, outcome.state, len(alike), **cause_of(alike[0])
            )
        )
