"""The floor of Python: three concurrent calls, merged, with nothing between uvloop and orjson.

Protocols by hand, httptools for both sides: no router, no timeout, no limit, no retry, no feature.
"""

import asyncio
import json
import os
from urllib.parse import urlsplit

import httptools
import orjson
import uvloop

UPSTREAM = urlsplit(os.environ["BENCH_UPSTREAM"])
_REQUEST = "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n"
_HEAD = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
DASHBOARDS = {
    f"/{name}".encode(): [(s, _REQUEST.format(p, UPSTREAM.netloc).encode()) for s, p in of.items()]
    for name, of in json.loads(os.environ["BENCH_DASHBOARDS"]).items()
}
IDLE = []  # connections to the upstream


class Upstream(asyncio.Protocol):
    """One connection to the upstream, with at most one call."""

    def connection_made(self, transport):
        self.transport, self.job = transport, None
        self.parser, self.body = httptools.HttpResponseParser(self), b""

    def call(self, job, section, request):
        self.job, self.section = job, section
        self.transport.write(request)

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_body(self, part):
        self.body = self.body + part if self.body else part

    def on_message_complete(self):
        job, body, self.job, self.body = self.job, self.body, None, b""
        IDLE.append(self)
        job.landed(self.section, body if self.parser.get_status_code() == 200 else None)

    def connection_lost(self, error):
        if self.job is not None:
            self.job.landed(self.section, None)
        elif self in IDLE:
            IDLE.remove(self)


class Job:
    """One request of a client: its calls, and its answer when the last has landed."""

    def __init__(self, client, sections):
        self.client, self.left, self.data = client, len(sections), dict.fromkeys(dict(sections))
        for section, request in sections:
            if IDLE:
                IDLE.pop().call(self, section, request)
            else:
                asyncio.get_running_loop().create_task(self.connect(section, request))

    async def connect(self, section, request):
        loop = asyncio.get_running_loop()
        try:
            _, upstream = await loop.create_connection(Upstream, UPSTREAM.hostname, UPSTREAM.port)
        except OSError:
            self.landed(section, None)
        else:
            upstream.call(self, section, request)

    def landed(self, section, body):
        self.data[section] = None if body is None else orjson.loads(body)
        self.left -= 1
        if not self.left:
            status = b"502 Bad Gateway" if None in self.data.values() else b"200 OK"
            body = orjson.dumps({"data": self.data})
            self.client.write(_HEAD % (status, len(body), body))


class Client(asyncio.Protocol):
    """One connection of a client, with one request at a time."""

    def connection_made(self, transport):
        self.transport, self.parser = transport, httptools.HttpRequestParser(self)

    def on_url(self, url):
        self.sections = DASHBOARDS[url]

    def on_message_complete(self):
        Job(self.transport, self.sections)

    def data_received(self, data):
        self.parser.feed_data(data)


async def main():
    loop, port = asyncio.get_running_loop(), int(os.environ["BENCH_PORT"])
    server = await loop.create_server(Client, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


uvloop.run(main())
