"""The events of a stream as JSON: each section as it lands, then what completes the document.

Folding them (`gateway.answers.fold`) gives the document, value for value. A value that is bytes
already is passed on as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        try:
            written = outcome.written or orjson.dumps(outcome.data)
        except (TypeError, ValueError):
            outcome = sound(section, outcome)
            written = orjson.dumps(outcome.data)
        else:
            outcome.written = written  # the document has the same bytes
        if section.required and outcome.state is State.FAILED:
            return b""
        return b'%b"data":%b%b' % (lead, written, _quality(section, outcome))

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
