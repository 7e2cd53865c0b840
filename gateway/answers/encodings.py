"""The encodings of a stream of events: server-sent events and JSON Lines.

Both carry the same objects. Server-sent events name each event in a line of its own and give the
last one an identifier; in JSON Lines the name is the member `event`.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["ENCODINGS", "Encoding", "JsonLines", "ServerSentEvents"]


class Encoding(Protocol):
    """How an event is written."""

    @property
    def media_type(self) -> bytes:
        """The media type of the stream."""

    @property
    def heartbeat(self) -> bytes:
        """What a stream sends while nothing happens; a client ignores it."""

    def event(self, name: bytes, payload: bytes, identifier: bytes = b"") -> bytes:
        """Return one event.

        Args:
            name: what happened: `section`, `element`, `complete` or `problem`.
            payload: a JSON object with at least one member, on one line.
            identifier: what a client sends back in `Last-Event-ID`; empty for none.
        """

    def opening(self, retry: int) -> bytes:
        """Return what tells a client after how many milliseconds to connect again."""


class ServerSentEvents:
    """Server-sent events, as `EventSource` reads them (WHATWG HTML, section 9.2)."""

    media_type = b"text/event-stream"
    heartbeat = b":\n\n"

    def event(self, name: bytes, payload: bytes, identifier: bytes = b"") -> bytes:
        """Return one event, with the lines `event`, `data` and maybe `id`."""
        if identifier:
            return b"event: %b\nid: %b\ndata: %b\n\n" % (name, identifier, payload)
        return b"event: %b\ndata: %b\n\n" % (name, payload)

    def opening(self, retry: int) -> bytes:
        """Return the field `retry`."""
        return b"retry: %d\n\n" % retry


class JsonLines:
    """One JSON object on each line; without identifiers, so a client cannot resume."""

    media_type = b"application/jsonl"
    heartbeat = b"\n"

    def event(self, name: bytes, payload: bytes, identifier: bytes = b"") -> bytes:  # noqa: ARG002
        """Return one line: the object, with the member `event` in front."""
        return b"".join((b'{"event":"', name, b'",', memoryview(payload)[1:], b"\n"))

    def opening(self, retry: int) -> bytes:  # noqa: ARG002 - as above
        """Return nothing: JSON Lines has no word for it."""
        return b""


ENCODINGS: tuple[Encoding, ...] = (ServerSentEvents(), JsonLines())
"""Every encoding, the preferred one first."""
