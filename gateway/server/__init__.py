"""The server face: connections of clients within limits, a process that drains, and its workers."""

from gateway.server.connections import Connections
from gateway.server.limits import Limits
from gateway.server.listening import listen, repeated
from gateway.server.server import Drain, Drainable, Server, State
from gateway.server.supervisor import Supervisor
from gateway.server.websocket import WebSocketConnection
from gateway.server.worker import Link

__all__ = [
    "Connections",
    "Drain",
    "Drainable",
    "Limits",
    "Link",
    "Server",
    "State",
    "Supervisor",
    "WebSocketConnection",
    "listen",
    "repeated",
]
