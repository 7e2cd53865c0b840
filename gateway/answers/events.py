"""The events of a stream as JSON: each section as it lands, then what completes the document.

Folding them (`gateway.answers.fold`) gives the document, value for value. A value that is bytes
already is passed on as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.answers.document import describe, entry_of, sound
from gateway.engine.outcome import State
from gateway.values.provenance import FETCHED

if TYPE_CHECKING:
    from gateway.answers.document import Document
    from gateway.engine.outcome import Outcome
    from gateway.plan.model import Plan, Section

__all__ = ["EventTemplate", "completion"]

_OK = b',"meta":{"state":"ok"},"errors":[]}'


class EventTemplate:
    """Writes the events of one plan; the parts that are the same for every request are made once.

    Hidden sections make no events. What the document says of them is in its completion.
    """

    __slots__ = ("_leads",)

    def __init__(self, plan: Plan) -> None:
        self._leads = [
            b"" if section.hidden else b'{"section":%b,' % orjson.dumps(section.name)
            for section in plan.sections
        ]

    def section(self, section: Section, outcome: Outcome) -> bytes:
        """Return the event of a section that has landed; its value is encoded only once.

        It is empty where the stream says nothing of the section: it is hidden, or it is required
        and failed, so that a problem follows.
        """
        lead = self._leads[section.index]
        if not lead:
            return b""
        outcome = self.written(section, outcome)
        if section.required and outcome.state is State.FAILED:
            return b""
        return b'%b"data":%b%b' % (lead, outcome.written, _quality(section, outcome))

    def written(self, section: Section, outcome: Outcome) -> Outcome:
        """Return the outcome with its value as JSON, which the document will have too.

        It is another one, failed, if the value cannot be written. Hidden ones are left as they are.
        """
        if not outcome.written and not section.hidden:
            try:
                outcome.written = orjson.dumps(outcome.data)
            except (TypeError, ValueError):
                outcome = sound(section, outcome)
                outcome.written = orjson.dumps(outcome.data)
        return outcome

    def signature(self, section: Section, outcome: Outcome) -> tuple[Any, ...]:
        """Return what differs where a frontend would render something else.

        As in the ETag, a `stale` that is merely being revalidated counts as `ok`, and `as_of` does
        not count. `outcome` is `written`.
        """
        state = outcome.state
        if state is State.STALE and outcome.provenance.reason is None:
            state = State.OK
        errors = [orjson.dumps(describe(section.name, fault)) for fault in outcome.faults]
        return outcome.written, state, tuple(errors)

    def element(self, section: Section, key: str | int, outcome: Outcome) -> bytes:
        """Return the event of one element of a `for_each` section; empty if it is hidden.

        It is also empty for a value that cannot be written as JSON: the section fails for it.
        """
        lead = self._leads[section.index]
        if not lead:
            return b""
        try:
            written = outcome.written or orjson.dumps(outcome.data)
        except (TypeError, ValueError):
            return b""
        place = b"index" if isinstance(key, int) else b"key"
        quality = _quality(section, outcome)
        return b'%b"%b":%b,"data":%b%b' % (lead, place, orjson.dumps(key), written, quality)


def completion(document: Document) -> bytes:
    """Return the last event: the document without its data."""
    return b"{" + document.closing


def _quality(section: Section, outcome: Outcome) -> bytes:
    """Return what an event says after a value: how good it is."""
    if outcome.provenance is FETCHED and outcome.state is State.OK and not outcome.faults:
        return _OK
    meta = orjson.dumps(entry_of(outcome))
    errors = orjson.dumps([describe(section.name, fault) for fault in outcome.faults])
    return b',"meta":%b,"errors":%b}' % (meta, errors)
