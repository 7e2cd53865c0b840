"""The fold: turns the events of a stream into the document, one at a time.

Clients of every language implement it. It is the definition of what events mean:

- `section` sets the value, the `meta` and the errors of one section, whatever was said before.
- `element` sets one value in the list or object of a section: at `index`, or at `key`. The section
  follows with the whole value, so a client may ignore elements.
- `complete` sets `errors` and `meta` and brings the sections into the document's order. The
  document is whole. In a live stream changes may follow: sections, and `complete` again. Between
  them `meta.complete` is false, because the document is neither the old nor the new one.
- `problem` ends the stream. The problem document is the answer, as if nothing had been sent.
"""

from __future__ import annotations

from typing import Any

__all__ = ["fold", "nothing"]


def nothing() -> dict[str, Any]:
    """Return the document before the first event."""
    return {"data": {}, "errors": [], "meta": {"complete": False, "sections": {}}}


def fold(document: dict[str, Any], name: str, event: dict[str, Any]) -> dict[str, Any]:
    """Return the document after one event; `document` is changed and must not be used again.

    Args:
        document: what the events before gave; at first `nothing()`.
        name: the name of the event. An unknown one changes nothing.
        event: its object, without `event` and `id`.
    """
    if name == "section":
        section = event["section"]
        document["data"][section] = event["data"]
        document["meta"]["sections"][section] = event["meta"]
        document["meta"]["complete"] = False
        others = [error for error in document["errors"] if error["section"] != section]
        document["errors"] = others + event["errors"]
    elif name == "element":
        _place(document["data"], event)
        document["errors"] += event["errors"]
        document["meta"]["complete"] = False
    elif name == "complete":
        data = {section: document["data"][section] for section in event["meta"]["sections"]}
        return {"data": data, "errors": event["errors"], "meta": event["meta"]}
    elif name == "problem":
        return event
    return document


def _place(data: dict[str, Any], event: dict[str, Any]) -> None:
    """Set one element of a section."""
    section = event["section"]
    if "key" in event:
        data[section] = {**(data.get(section) or {}), event["key"]: event["data"]}
        return
    index = event["index"]
    elements = list(data.get(section) or [])
    elements += [None] * (index + 1 - len(elements))
    elements[index] = event["data"]
    data[section] = elements
