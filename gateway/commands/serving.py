"""How uvicorn is set up for the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.config.settings import Settings

__all__ = ["uvicorn_options"]


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """Return the options that `uvicorn.run` and `uvicorn.Config` share.

    uvicorn waits for ever for requests under way unless a limit is set, logs each request at the
    cost of a third of the throughput, and tells its name in every answer; none of it is wanted.
    """
    return {
        "loop": "uvloop",
        "http": "httptools",
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "log_level": settings.log_level.lower(),
        "timeout_graceful_shutdown": settings.drain_seconds,
        "timeout_keep_alive": settings.keep_alive,
        "backlog": 4096,
    }
