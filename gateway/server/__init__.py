"""The server process: it listens, drains without losing a request, and supervises workers."""

from gateway.server.connection import Connection
from gateway.server.listening import listen
from gateway.server.server import Drain, Drainable, Server, State
from gateway.server.supervisor import Supervisor
from gateway.server.worker import Link

__all__ = ["Connection", "Drain", "Drainable", "Link", "Server", "State", "Supervisor", "listen"]
