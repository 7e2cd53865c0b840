"""Live streams: they stay open when the document is complete, and get what changes.

One poll serves all clients of the same dashboard, parameters, sections and forwarded header fields.
It runs the plan again and again, compares each section with what it was, and writes a changed one
once for all of them. The caches and their leases let replicas share its calls
(`gateway.plan.live`).

A client is an entry in a set: it has no task and no queue. One that does not read is passed over;
when it reads again it gets the sections that have changed since, each in its latest version.
"""

from __future__ import annotations

import asyncio
import logging
import random as randomness
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.answers.events import completion
from gateway.call import Deadline
from gateway.engine.context import Inputs
from gateway.expressions.reference import ABSENT
from gateway.upstreams.kind import Sent
from gateway.web.problems import bug, problem
from gateway.web.response_headers import etag, matches
from gateway.web.streaming import HEARTBEAT, Stream
from gateway.web.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from starlette.responses import Response

    from gateway.answers.encodings import Encoding
    from gateway.call import Clock
    from gateway.engine.execution import Execution
    from gateway.engine.outcome import Outcome
    from gateway.plan.model import Section
    from gateway.web.selection import Selection

__all__ = ["Live", "LiveStream"]

_log = logging.getLogger("gateway")

_JITTER = 0.1
"""Most by which the time between two polls is longer than declared, as a share: dashboards that
were opened together do not go on together, and none is polled more often than declared."""

_AT_ONCE = 200
"""Clients that are written to in one turn of the event loop."""

_FIRST_RETRY = 1000
_LAST_RETRY = 5000
"""Milliseconds after which clients connect again, each at a random one between the two."""


class LiveStream(Stream):
    """One live client.

    Attributes:
        poll: the poll that serves it; `None` before it has joined and after it has ended.
        serial: the version that it has; 0 if it has none.
        retry: milliseconds after which it connects again.
        count: counts its answer by status, from when it joins.
    """

    __slots__ = ("count", "poll", "retry", "serial")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.poll: _Poll | None = None
        self.serial = 0
        self.retry = 0
        self.count: Callable[[int], None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it waits for what changes."""
        return self.poll is not None

    def leave(self) -> None:
        """Take note that the client has gone."""
        if self.poll is not None:
            self.poll.leave(self)

    def offer(self, name: bytes, payload: bytes, *, hold: bool) -> None:
        """Send an event of the client's first version while it is made."""
        if name == b"element" and self._outlet is not None and self._outlet.paused:
            return  # the section follows with all of them
        self._send(self.encoding.event(name, payload), hold=hold)

    def open(self, poll: _Poll) -> None:
        """Bring the client to its first version; it may have got the sections of it already."""
        if self._outlet is not None:
            self._outlet.write(poll.last(self.encoding))
        elif self._known and matches(self._known, poll.tag):
            self._start(b"")
        else:
            self._start(poll.since(0, self.encoding))
        self._held.clear()
        self.serial = poll.serial

    def update(self) -> None:
        """Send what has changed, unless the client does not read."""
        poll, outlet = self.poll, self._outlet
        if poll is None or outlet is None or outlet.paused or not 0 < self.serial < poll.serial:
            return
        data = poll.since(self.serial, self.encoding)
        self.serial = poll.serial
        outlet.write(data)

    def end(self) -> None:
        """End the stream: the client connects again."""
        self.poll = None
        if self._outlet is not None:
            self._outlet.end()

    def refuse(self, refusal: Response) -> None:
        """End with a problem."""
        if self._outlet is None and self.count is not None:
            self.count(refusal.status_code)
        super().refuse(refusal)

    def _start(self, data: bytes) -> None:
        if self.count is not None:
            self.count(200)
        super()._start(self.encoding.opening(self.retry) + data)
        if self._outlet is not None:
            self._outlet.resumed = self.update


class Live:
    """The live streams of one process.

    Args:
        max_clients: most live clients at a time.
        max_polls: most different things that they may watch at a time.
        clock: monotonic seconds.
        random: a number from 0 to 1.

    Attributes:
        clients: the number of live clients.
        runs: the number of polls so far.
    """

    def __init__(
        self,
        max_clients: int,
        max_polls: int,
        clock: Clock,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self.clients = 0
        self.runs = 0
        self.clock = clock
        self.random = random
        self._max_clients = max_clients
        self._max_polls = max_polls
        self._polls: dict[Hashable, _Poll] = {}
        self._closing = False
        self._cancelled: set[asyncio.Task[Any]] = set()

    @property
    def polls(self) -> int:
        """The number of different things that are watched."""
        return len(self._polls)

    @property
    def closing(self) -> bool:
        """Whether streams end when they are complete, as other streams do."""
        return self._closing

    def join(
        self,
        stream: LiveStream,
        selection: Selection,
        every: float,
        parameters: Mapping[str, Any],
        sent: Mapping[str, Sent],
    ) -> Response | None:
        """Let a client watch a dashboard; return the refusal if there are too many.

        Args:
            stream: the client.
            selection: what is watched, bound to the calls of polls.
            every: seconds between two polls.
            parameters: the parameters of the request.
            sent: the client's header fields. Those that are only propagated are not sent: the poll
                is for all clients.
        """
        if self.clients >= self._max_clients:
            return _full(f"the gateway serves {self._max_clients} live clients, its limit")
        forwarded = {name: Sent(one.headers) for name, one in sent.items() if one.headers}
        key = _key(selection, parameters, forwarded)
        poll = self._polls.get(key)
        if poll is None:
            if len(self._polls) >= self._max_polls:
                return _full(f"the gateway polls for {self._max_polls} live streams, its limit")
            inputs = Inputs(parameters, forwarded)
            poll = self._polls[key] = _Poll(self, key, selection, every, inputs)
        self.clients += 1
        stream.retry = int(_FIRST_RETRY + self.random() * (_LAST_RETRY - _FIRST_RETRY))
        stream.poll = poll
        poll.join(stream)
        return None

    def end(self) -> None:
        """End every stream; those that still come end when they are complete."""
        self._closing = True
        for poll in list(self._polls.values()):
            poll.end()

    async def aclose(self) -> None:
        """End every stream, and wait for what was cancelled."""
        self.end()
        for poll in list(self._polls.values()):
            poll.stop()
        if self._cancelled:
            await asyncio.wait(set(self._cancelled))

    # For polls

    def forget(self, key: Hashable, ending: Iterable[asyncio.Task[Any]]) -> None:
        """Forget a poll that was stopped; `ending` are its tasks that have yet to end."""
        self._polls.pop(key, None)
        for task in ending:
            self._cancelled.add(task)
            task.add_done_callback(self._cancelled.discard)


class _Shown(NamedTuple):
    """A visible section in its current version.

    Attributes:
        signature: differs where a frontend would render something else.
        payload: its event.
        serial: the version that brought it.
    """

    signature: tuple[Any, ...]
    payload: bytes
    serial: int


class _Poll:
    """Runs one plan again and again for its clients.

    Attributes:
        serial: the number of the current version; 0 before the first.
        tag: its ETag.
    """

    def __init__(
        self, live: Live, key: Hashable, selection: Selection, every: float, inputs: Inputs
    ) -> None:
        self.serial = 0
        self.tag = b""
        self._live = live
        self._key = key
        self._selection = selection
        self._every = every
        self._inputs = inputs
        self._clients: dict[LiveStream, None] = {}
        self._joining: dict[LiveStream, None] = {}
        self._shown: dict[int, _Shown] = {}
        self._complete = b""
        self._forms: dict[tuple[bytes, int], bytes] = {}
        self._failing = True  # there is no version that a client could join
        self._landed: list[tuple[bytes, bytes, bool]] = []
        self._execution: Execution | None = None
        self._running = False
        self._began = 0.0
        self._spoke = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._beats: asyncio.TimerHandle | None = None
        self._stopped = False

    # What clients ask for

    def join(self, stream: LiveStream) -> None:
        """Serve a client: with the current version, or with the one that is being made."""
        if not self._failing:
            self._clients[stream] = None
            stream.open(self)
            if self._live.closing:
                self._drop([stream])
            return
        self._joining[stream] = None
        if not self._running:
            self._run()
            return
        for name, payload, hold in list(self._landed):
            stream.offer(name, payload, hold=hold)

    def leave(self, stream: LiveStream) -> None:
        """Forget a client; the poll stops with its last one."""
        stream.poll = None
        self._clients.pop(stream, None)
        self._joining.pop(stream, None)
        self._live.clients -= 1
        if not (self._clients or self._joining):
            self.stop()

    def since(self, serial: int, encoding: Encoding) -> bytes:
        """Return the events that lead from one version to the current one."""
        key = (encoding.media_type, serial)
        found = self._forms.get(key)
        if found is None:
            shown = sorted(self._shown.items())
            parts = [encoding.event(b"section", s.payload) for _, s in shown if s.serial > serial]
            found = b"".join([*parts, self.last(encoding)])
            if serial in {0, self.serial - 1}:  # what most clients need
                self._forms[key] = found
        return found

    def last(self, encoding: Encoding) -> bytes:
        """Return the last event of the current version."""
        return encoding.event(b"complete", self._complete, self.tag)

    # Its life

    def end(self) -> None:
        """End the streams of all clients that have a version."""
        self._each(list(self._clients), lambda stream: self._drop([stream]))

    def stop(self) -> None:
        """Poll no more."""
        self._stopped = True
        for timer in (self._timer, self._beats):
            if timer is not None:
                timer.cancel()
        execution, self._execution = self._execution, None
        self._live.forget(self._key, execution.cancel() if execution is not None else ())

    def _drop(self, streams: Iterable[LiveStream]) -> None:
        for stream in streams:
            if stream.poll is self:
                self.leave(stream)
                stream.end()

    def _run(self) -> None:
        """Run the plan once."""
        live, bound = self._live, self._selection.bound
        live.runs += 1
        self._timer = None
        self._began = live.clock()
        self._landed = []
        self._running = True
        execution = bound.start(
            self._inputs,
            Deadline(self._began + bound.plan.deadline),
            self._ended,
            publish=self._publish,
            publish_element=self._publish_element,
        )
        if self._stopped:
            self._live.forget(self._key, execution.cancel())
        elif self._running:
            self._execution = execution

    def _publish(self, section: Section, outcome: Outcome) -> None:
        if self._failing:
            self._offer(b"section", self._selection.events.section(section, outcome), outcome)

    def _publish_element(self, section: Section, key: str | int, outcome: Outcome) -> None:
        if self._failing:
            self._offer(b"element", self._selection.events.element(section, key, outcome), outcome)

    def _offer(self, name: bytes, payload: bytes, outcome: Outcome) -> None:
        """Send an event of the first version to those who wait for it."""
        if not payload:
            return
        hold = bool(outcome.faults) and outcome.shed
        if name == b"section":
            self._landed.append((name, payload, hold))
        for stream in list(self._joining):
            stream.offer(name, payload, hold=hold)

    def _ended(self, execution: Execution) -> None:
        """Take what a run came to, and plan the next one."""
        self._running = False
        self._execution = None
        if self._stopped:
            return
        try:
            self._take(execution)
        except Exception as error:
            _log.error("the poll of dashboard %s failed", self._selection.plan.name, exc_info=error)
            self._fail(bug())
        if not self._stopped:
            pause = self._every * (1 + self._live.random() * _JITTER)
            pause = max(0.0, pause - (self._live.clock() - self._began))
            self._timer = asyncio.get_running_loop().call_later(pause, self._run)

    def _take(self, execution: Execution) -> None:
        if isinstance(execution.bug, Exception):
            raise execution.bug
        selection = self._selection
        sections = selection.plan.sections
        outcomes = [
            outcome if outcome is None else selection.events.written(section, outcome)
            for section, outcome in zip(sections, execution.outcomes, strict=True)
        ]
        document, refusal, _ = judge(selection, outcomes)
        if refusal is not None:
            self._fail(refusal)
            return
        tag = etag(document.rendered)
        changed = tag != self.tag
        if changed:
            self._change(zip(sections, outcomes, strict=True), completion(document), tag)
        self._failing = False
        self._landed = []
        joining, self._joining = self._joining, {}
        behind = list(self._clients) if changed else []
        for stream in joining:
            self._clients[stream] = None
            stream.open(self)
        if self._live.closing:
            self._drop(list(joining))
        if behind:
            self._spoke = self._live.clock()
            self._each(behind, LiveStream.update)
        if self._beats is None and not self._stopped:
            self._spoke = self._live.clock()
            self._beats = asyncio.get_running_loop().call_later(HEARTBEAT, self._beat)

    def _change(
        self, landed: Iterable[tuple[Section, Outcome | None]], complete: bytes, tag: bytes
    ) -> None:
        """Make a new version; only sections that have changed are written."""
        self.serial += 1
        self.tag = tag
        self._complete = complete
        self._forms = {}
        events = self._selection.events
        for section, outcome in landed:
            if section.hidden or outcome is None:
                continue
            signature = events.signature(section, outcome)
            before = self._shown.get(section.index)
            if before is None or before.signature != signature:
                payload = events.section(section, outcome)
                self._shown[section.index] = _Shown(signature, payload, self.serial)

    def _fail(self, refusal: Response) -> None:
        """Refuse those who wait for a version. The others keep the one that they have."""
        self._failing = True
        self._landed = []
        joining, self._joining = self._joining, {}
        for stream in joining:
            self.leave(stream)
            stream.refuse(refusal)
        if not self._clients:
            self.stop()

    def _beat(self) -> None:
        """Send a heartbeat after a silence."""
        live = self._live
        left = self._spoke + HEARTBEAT - live.clock()
        if left <= 0:
            self._spoke = live.clock()
            self._each(list(self._clients), LiveStream.beat)
            left = HEARTBEAT
        self._beats = asyncio.get_running_loop().call_later(left, self._beat)

    def _each(self, streams: Iterable[LiveStream], act: Callable[[LiveStream], None]) -> None:
        """Act on each client, some in each turn of the loop, so that others get theirs."""
        left = iter(streams)

        def some() -> None:
            batch = list(islice(left, _AT_ONCE))
            for stream in batch:
                if stream.poll is self:
                    act(stream)
            if len(batch) == _AT_ONCE:
                loop.call_soon(some)

        loop = asyncio.get_running_loop()
        some()


def _key(
    selection: Selection, parameters: Mapping[str, Any], forwarded: Mapping[str, Sent]
) -> Hashable:
    """Return what is the same for all clients of one poll."""
    given = tuple(
        (name, _same(value)) for name, value in sorted(parameters.items()) if value is not ABSENT
    )
    shown = tuple(section.name for section in selection.plan.sections if not section.hidden)
    fields = tuple((name, tuple(one.headers)) for name, one in sorted(forwarded.items()))
    return selection.plan.name, shown, given, fields


def _same(value: Any) -> Hashable:
    """Return what is equal for parameters that are written alike: 1, 1.0 and true differ."""
    if isinstance(value, list):
        return tuple(map(_same, value))
    if isinstance(value, dict):
        return tuple((name, _same(one)) for name, one in sorted(value.items()))
    return type(value), repr(value) if isinstance(value, float) else value  # -0.0 is not 0.0


def _full(detail: str) -> Response:
    return problem(503, detail, retry_after=_LAST_RETRY / 1000)
