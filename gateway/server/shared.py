"""What the connections of one server share: limits, timers, the log, and the heads of answers."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gateway.aio.timers import Wheel
from gateway.telemetry.repeated_lines import RepeatedLines
from gateway.web.application import Application
from gateway.web.lifecycle import Lifecycle

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from starlette.types import ASGIApp
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from gateway.server.limits import Limits
    from gateway.server.refusal import ClientLine
    from gateway.web.cors import Cors, CrossOrigin
    from gateway.web.dashboard import DashboardEndpoint
    from gateway.web.fields import Fields
    from gateway.web.path_index import Found

__all__ = ["Shared"]

_TICK = 0.1  # seconds by which a limit of time may be late
_LINGERING = 64  # refused connections beyond the limit that are closed politely


class Shared:
    """What the connections of one server share.

    Args:
        limits: what a client may do.
        config: uvicorn's configuration, loaded.
        state: uvicorn's counts of connections, tasks and requests.
        app_state: the state of the application's lifespan.
        loop: the event loop of the connections.

    Attributes:
        app: the ASGI application.
        log: where uvicorn logs failures of applications.
        wheel: the alarms of the connections.
    """

    def __init__(
        self,
        limits: Limits,
        config: Config,
        state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.limits = limits
        self.config = config
        self.state = state
        self.app_state = app_state
        self.loop = loop
        self._lifecycle = getattr(state, "lifecycle", None) or Lifecycle()
        self.log = logging.getLogger("uvicorn.error")
        self.access_log = logging.getLogger("uvicorn.access")
        self.wheel = Wheel(_TICK)
        self._lines = RepeatedLines(clock=loop.time)
        self._heads: dict[int, bytes] = {}
        self._heads_of: list[tuple[bytes, bytes]] | None = None
        app: Any = config.loaded_app
        self.app: ASGIApp = app
        # uvicorn's access log and root path are matters of ASGI.
        needs_asgi = config.root_path or config.access_log or not isinstance(app, Application)
        self._application: Application[Any] | None = None if needs_asgi else app
        self._with_cors: Application[Any] | None = app if isinstance(app, Application) else None

    @property
    def draining(self) -> bool:
        """Whether the process drains: every answer ends its connection."""
        return self._lifecycle.draining

    def is_full(self) -> bool:
        """Whether there are more connections than the limit allows."""
        return len(self.state.connections) > self.limits.connections

    def may_linger(self) -> bool:
        """Whether a connection may wait for its client to read the last answer."""
        return len(self.state.connections) <= self.limits.connections + _LINGERING

    def direct(self, raw_path: bytes) -> Found[DashboardEndpoint] | None:
        """Return the dashboard that is asked without ASGI, and its path parameters."""
        return None if self._application is None else self._application.direct(raw_path)

    @property
    def cors(self) -> Cors | None:
        """Which origins may read answers; `None` if browsers let none."""
        return None if self._with_cors is None else self._with_cors.cors

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` as a task that the server's shutdown waits for."""
        task = self.loop.create_task(work)
        tasks = self.state.tasks
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def head(
        self, status: int, fields: Fields, cross: CrossOrigin | None = None, *, close: bool
    ) -> bytes:
        """Return the head of an answer, with the empty line at its end.

        Args:
            status: its status.
            fields: its header fields.
            cross: what CORS adds to them.
            close: the connection ends with it.
        """
        defaults = self.state.default_headers  # another list each second, with another Date
        if defaults is not self._heads_of:
            self._heads = {}
            self._heads_of = defaults
        begin = self._heads.get(status)
        if begin is None:
            phrase = HTTPStatus(status).phrase.encode("ascii")
            lines = b"".join([b"%b: %b\r\n" % field for field in defaults])
            begin = self._heads[status] = b"HTTP/1.1 %d %b\r\n%b" % (status, phrase, lines)
        end = b"connection: close\r\n\r\n" if close else b"\r\n"
        if cross is not None:
            more = cross.wire if fields.varies else cross.wire_with_vary
            return b"%b%b%b%b" % (begin, fields.wire, more, end)
        return b"%b%b%b" % (begin, fields.wire, end)

    def report(self, key: tuple[str, ...], line: ClientLine) -> None:
        """Log what a client did, at a bounded rate."""
        self._lines.add(key, line)

    def close(self) -> None:
        """Write the lines that were left out so far."""
        self._lines.close()
