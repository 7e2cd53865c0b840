"""Streams taken apart, as a client does."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from gateway.answers.fold import fold, nothing

__all__ = ["Event", "folded", "json_lines", "parsed", "server_sent"]


class Event(NamedTuple):
    """One event: its name, its object and its identifier."""

    name: str
    data: dict[str, Any]
    identifier: str = ""


def server_sent(content: bytes) -> list[Event]:
    """Take server-sent events apart, as WHATWG HTML section 9.2.6 says."""
    events = []
    blocks = content.decode().split("\n\n")
    assert blocks.pop() == "", "an event is cut off"
    for block in blocks:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            if name:
                assert name in {"event", "data", "id", "retry"}, line
                fields[name] = value.removeprefix(" ")
        if "data" in fields:
            data = json.loads(fields["data"])
            events.append(Event(fields["event"], data, fields.get("id", "")))
    return events


def json_lines(content: bytes) -> list[Event]:
    """Take JSON Lines apart."""
    lines = content.decode().split("\n")
    assert lines.pop() == "", "a line is cut off"
    objects = [json.loads(line) for line in lines if line]
    return [Event(one.pop("event"), one) for one in objects]


def parsed(media_type: str, content: bytes) -> list[Event]:
    """Take a stream of either encoding apart."""
    return (server_sent if media_type == "text/event-stream" else json_lines)(content)


def folded(events: list[Event]) -> dict[str, Any]:
    """Return the document that the events give."""
    document = nothing()
    for event in events:
        document = fold(document, event.name, event.data)
    return document
