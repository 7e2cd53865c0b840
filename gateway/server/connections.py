"""Makes the protocol of each connection, for uvicorn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.server.protocol import Connection
from gateway.server.shared import Shared

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from gateway.server.limits import Limits

__all__ = ["Connections"]


class Connections:
    """Makes the protocol of each connection: `uvicorn.Config(http=Connections(limits))`.

    One serves one server at a time. It can be pickled, so that uvicorn can send it to worker
    processes.

    Args:
        limits: what a client may do.

    Attributes:
        limits: what a client may do.
        shared: what the connections share; `None` before the first one.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.shared: Shared | None = None

    def __reduce__(self) -> tuple[type[Connections], tuple[Limits]]:
        return type(self), (self.limits,)

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        """Return the protocol of one connection; called by uvicorn."""
        shared = self.shared
        if shared is None or shared.state is not server_state:
            if not config.loaded:
                config.load()
            loop = _loop or asyncio.get_running_loop()
            shared = self.shared = Shared(self.limits, config, server_state, app_state, loop)
        return Connection(shared)

    def close(self) -> None:
        """Log what was left out so far; the server has ended."""
        if self.shared is not None:
            self.shared.close()
