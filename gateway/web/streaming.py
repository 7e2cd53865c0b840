"""One answer as a stream: its events are written the moment the sections land.

The head is sent with the first event, so a required section that fails before it is answered with
its real status. Until then, and where a stream is held, events wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from gateway.aio.timers import Alarm
from gateway.answers.events import completion
from gateway.web.fields import Fields
from gateway.web.problems import NOSNIFF
from gateway.web.response_cache import CachedAnswer
from gateway.web.response_headers import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.responses import Response

    from gateway.aio.timers import Wheel
    from gateway.answers.document import Document
    from gateway.answers.encodings import Encoding
    from gateway.answers.events import EventTemplate
    from gateway.engine.outcome import Outcome
    from gateway.plan.model import Section
    from gateway.values.header_fields import Field
    from gateway.web.fields import Respond
    from gateway.web.response_headers import Freshness

__all__ = [
    "HEARTBEAT",
    "Begin",
    "CachedStream",
    "Heartbeat",
    "Outlet",
    "Stream",
    "stream_fields",
]


class Outlet(Protocol):
    """Where the content of a streamed answer is written."""

    @property
    def paused(self) -> bool:
        """Whether the client does not read what was written; writing more takes memory."""

    def write(self, data: bytes) -> None:
        """Send a part of the content now."""

    def end(self, data: bytes = b"") -> None:
        """Send the last part, and end the answer."""

    resumed: Callable[[], None] | None
    """Called when the client reads again."""


Begin: TypeAlias = "Callable[[int, Fields, bytes], Outlet]"
"""Takes the status, the header fields and the first part of a streamed answer."""


def stream_fields(encoding: Encoding, vary: Sequence[Field]) -> Fields:
    """Return the header fields of a stream.

    A stored copy would be replayed to a client that wants news, and a proxy must not collect it.
    """
    return Fields(
        [
            (b"content-type", encoding.media_type),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            *vary,
            NOSNIFF,
        ]
    )


class CachedStream(CachedAnswer):
    """A whole stream as one cached answer: its sections in the order in which they landed."""

    __slots__ = ("_head",)

    def __init__(self, body: bytes, etag: bytes, freshness: Freshness, head: Fields) -> None:
        super().__init__(body, etag, freshness, b"")
        self._head = head

    def again(self, timing: bytes) -> CachedStream:  # noqa: ARG002 - streams have no timings
        """Return the answer in the form that later hits send."""
        return CachedStream(self.body, self.etag, self.freshness.as_hit(), self._head)

    def _common(self, now: float) -> list[Field]:  # noqa: ARG002 - streams have no ages
        return [*self._head]

    def _described(self, now: float) -> list[Field]:
        return self._common(now)


HEARTBEAT = 15.0
"""Seconds after which a client gets a heartbeat."""


class Heartbeat(Alarm):
    """The heartbeats of one stream, until they are stopped."""

    __slots__ = ("_stream", "_wheel")

    def __init__(self, wheel: Wheel, stream: Stream) -> None:
        self._wheel = wheel
        self._stream = stream
        wheel.set(self, HEARTBEAT)

    def ring(self) -> None:
        """Send one, and go on."""
        self._stream.beat()
        self._wheel.set(self, HEARTBEAT)

    def stop(self) -> None:
        """Send no more."""
        self.slot.discard(self)


class Stream:
    """The stream of one request, from its first landing to its end.

    Args:
        encoding: how they are encoded.
        head: the header fields.
        respond: answers in one piece.
        begin: begins the answer.
        known: the `Last-Event-ID` of the client; empty if it has none. To know whether the client
            has this version already, the stream is held until it is complete.
        head_only: the request is a HEAD, which also waits for the end.
        stored: the content may be stored.

    Attributes:
        encoding, head: as given.
        template: writes the events of the plan; set when the request is begun.
    """

    __slots__ = ("_begin", "_head_only", "_held", "_known", "_outlet", "_respond",
                 "_stored", "encoding", "head", "template")  # fmt: skip

    def __init__(
        self,
        encoding: Encoding,
        head: Fields,
        respond: Respond,
        begin: Begin,
        *,
        known: bytes,
        head_only: bool,
        stored: bool,
    ) -> None:
        self.template: EventTemplate
        self.encoding = encoding
        self.head = head
        self._respond = respond
        self._begin = begin
        self._known = known
        self._head_only = head_only
        self._held: list[bytes] = []
        self._stored: list[bytes] | None = [] if stored else None
        self._outlet: Outlet | None = None

    @property
    def is_open(self) -> bool:
        """Whether the stream goes on after its request has left the door."""
        return False

    def leave(self) -> None:
        """Take note that the client of an open stream has gone."""

    def landed(self, section: Section, outcome: Outcome) -> None:
        """Send a section."""
        payload = self.template.section(section, outcome)
        if not payload:
            return
        event = self.encoding.event(b"section", payload)
        if self._stored is not None:
            self._stored.append(event)
        # What our own limits dropped may yet turn out to be all there is: a 503.
        self._send(event, hold=bool(outcome.faults) and outcome.shed)

    def element_landed(self, section: Section, key: str | int, outcome: Outcome) -> None:
        """Send an element, unless the client is behind: the section follows with all of them."""
        if self._outlet is not None and self._outlet.paused:
            return
        payload = self.template.element(section, key, outcome)
        if payload:
            event = self.encoding.event(b"element", payload)
            self._send(event, hold=bool(outcome.faults) and outcome.shed)

    def complete(self, document: Document, tag: bytes) -> int:
        """Send the last event, and end the answer; return its status."""
        event = self.encoding.event(b"complete", completion(document), tag)
        if self._stored is not None:
            self._stored.append(event)
        if self._outlet is not None:
            self._outlet.end(event)
        elif self._known and matches(self._known, tag):
            self._respond(204, self.head, b"")
            return 204
        elif self._head_only:
            self._respond(200, self.head, b"")
        else:
            self._begin(200, self.head, b"".join(self._held)).end(event)
        return 200

    def beat(self) -> None:
        """Send a heartbeat, if the stream has begun and its client reads."""
        if self._outlet is not None and not self._outlet.paused:
            self._outlet.write(self.encoding.heartbeat)

    def refuse(self, refusal: Response) -> None:
        """End with a problem: the answer, or the last event of a stream that has begun."""
        if self._outlet is None:
            fields = Fields(refusal.raw_headers)
            self._respond(refusal.status_code, fields, bytes(refusal.body))
        else:
            self._outlet.end(self.encoding.event(b"problem", bytes(refusal.body)))

    def content(self) -> bytes:
        """Return the whole stream without its elements, to be stored."""
        return b"".join(self._stored or ())

    def _send(self, event: bytes, *, hold: bool) -> None:
        if self._outlet is not None:
            self._outlet.write(event)
        elif hold or self._known or self._head_only:
            self._held.append(event)
        else:
            held, self._held = self._held, []
            self._start(b"".join([*held, event]))

    def _start(self, data: bytes) -> None:
        """Send the head, and the first part."""
        self._outlet = self._begin(200, self.head, data)
