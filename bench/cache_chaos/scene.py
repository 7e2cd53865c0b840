"""The environment of one check: an upstream, a Redis server, gateways and the table of results."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from cache_chaos.wire import Client, Upstream
from servers import Server, free_port
from tests.redis_server import RedisServer

GATEWAY = str(Path(sys.executable).with_name("gateway"))

CONFIG = """
upstreams:
  it:
    base_url: http://127.0.0.1:{port}
    timeout: 5s
    concurrency: 512
    {upstream}
    cache: {{{cache}, jitter: 0, early_refresh: 0}}
dashboards:
  it:
    path: /it/{{id}}
    parameters: {{id: {{type: string}}}}
    deadline: 10s
    sections:
      it: {{get: "it:/it/{{id}}"}}
  needed:
    path: /needed/{{id}}
    parameters: {{id: {{type: string}}}}
    deadline: 10s
    sections:
      it: {{get: "it:/it/{{id}}", required: true}}
"""


class Diagnostic(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    wanted: str
    ok: bool


class Scene:
    """Starts the processes that a check needs, and stops all of them."""

    def __init__(self, directory: Path, *, quick: bool) -> None:
        self.directory = directory
        self.quick = quick
        self.upstream = Upstream()
        self.redis = RedisServer(directory)
        self.findings: list[Diagnostic] = []
        self._gateways: list[Server] = []
        self._clients: list[Client] = []

    def found(self, what: str, measured: object, wanted: str, *, ok: bool) -> None:
        finding = Diagnostic(what, str(measured), wanted, bool(ok))
        self.findings.append(finding)
        print(f"  {'ok  ' if ok else 'FAIL'} {what}: {measured} (wanted {wanted})", flush=True)

    async def gateways(
        self,
        count: int,
        *,
        cache: str = "ttl: 1m",
        upstream: str = "",
        redis: bool = True,
        **environment: str,
    ) -> list[Gateway]:
        """Start replicas of one configuration."""
        config = self.directory / f"gateway-{len(self._gateways)}.yaml"
        config.write_text(
            CONFIG.format(port=self.upstream.port, cache=cache, upstream=upstream), "utf-8"
        )
        made = []
        for _ in range(count):
            port, admin = free_port(), free_port()
            env = {**environment, "GATEWAY_ADMIN_PORT": str(admin)}
            if redis:
                env["GATEWAY_REDIS_URL"] = self.redis.url
            server = Server(
                "gateway",
                [GATEWAY, "run", "--config", str(config), "--port", str(port)],
                port,
                self.directory / f"gateway-{len(self._gateways)}.log",
                cores="0,1",
                env=env,
                ready="/readyz",
            )
            self._gateways.append(server)
            made.append((server, admin))
        await asyncio.gather(*(asyncio.to_thread(server.start) for server, _ in made))
        gateways = [Gateway(server, admin) for server, admin in made]
        self._clients += [one for each in gateways for one in (each.client, each.admin)]
        return gateways

    async def end_gateways(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()
        await asyncio.gather(*(asyncio.to_thread(server.stop) for server in self._gateways))
        self._gateways.clear()

    async def end(self) -> None:
        await self.end_gateways()
        self.redis.kill()
        self.upstream.stop()


class Gateway:
    """One replica and a client of it."""

    def __init__(self, server: Server, admin: int) -> None:
        self.server = server
        self.client = Client(server.port)
        self.get = self.client.get
        self.admin = Client(admin)

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.server.process.pid, signal.SIGKILL)

    @property
    def log(self) -> str:
        return self.server.log.read_text("utf-8")

    def rss(self) -> int:
        return self.server.rss()


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
