"""What one client costs in resident memory: with a dashboard in flight, and idle."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import wrk

if TYPE_CHECKING:
    from bench import Bench
    from servers import Server

CLIENTS = 5000
_RUNS = 3  # each with a fresh process; one in a quick run


def _fresh(bench: Bench, name: str) -> Server:
    """Return a new process that has been warmed up."""
    bench.stop(name)
    server = bench.server(name)
    wrk.run(server.url + "/fan3", clients=64, seconds=2)
    return server


def in_flight(bench: Bench) -> list[dict[str, float]]:
    """Hold 5,000 dashboards in flight; return the peak of resident memory of each run."""
    seconds = 6 if bench.quick else 10
    rows = []
    for _ in range(1 if bench.quick else _RUNS):
        server = _fresh(bench, "in_flight")
        bench.check(server, "/second3")
        before, peak = server.rss(), 0
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(
                wrk.run, server.url + "/second3", clients=CLIENTS, seconds=seconds
            )
            while not running.done():
                peak = max(peak, server.rss())
                time.sleep(0.05)
            load = running.result()
        rows.append({"before": before, "peak": peak, "each": (peak - before) / CLIENTS,
                     "rate": load.rate, "p50": load.p50, "p99": load.p99,
                     "answers": load.answers})  # fmt: skip
    bench.stop("in_flight")
    return rows


def idle(bench: Bench) -> list[dict[str, float]]:
    """Hold 5,000 clients idle, each after one answer; return the resident memory of each run."""
    rows = []
    for _ in range(1 if bench.quick else _RUNS):
        server = _fresh(bench, "idle")
        before = server.rss()
        clients: list[socket.socket] = []
        try:
            clients.extend(_answered(server) for _ in range(CLIENTS))
            time.sleep(0.5)
            peak = server.rss()
            closed = sum(_is_closed(client) for client in clients)
        finally:
            for client in clients:
                client.close()
        if closed:
            raise wrk.FailedError(f"{closed} of {CLIENTS} idle clients were disconnected")
        rows.append({"before": before, "peak": peak, "each": (peak - before) / CLIENTS})
    bench.stop("idle")
    return rows


def _answered(server: Server) -> socket.socket:
    """Return a connection on which one dashboard has been answered completely."""
    client = socket.create_connection(("127.0.0.1", server.port), 30)
    client.sendall(b"GET /fan3 HTTP/1.1\r\nhost: bench\r\n\r\n")
    head, found, body = b"", b"", b""
    while not found:
        head += _received(client)
        head, found, body = head.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    if not lines[0].startswith(b"http/1.1 200"):
        raise wrk.FailedError(f"{server.name} answered {lines[0].decode()}")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    while len(body) < length:
        body += _received(client)
    return client


def _received(client: socket.socket) -> bytes:
    data = client.recv(65536)
    if not data:
        raise wrk.FailedError("the server closed the connection before its answer ended")
    return data


def _is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return not client.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
