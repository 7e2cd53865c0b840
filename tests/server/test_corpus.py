"""Hostile and odd requests get the same verdicts both ways, however their bytes are cut."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.server.limits import Limits
from tests.server.clients import Client, Server, answers
from tests.server.conftest import TEXT
from tests.server.corpus import CASES
from tests.server.test_protocol import get
from tests.serving import application
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Make = Callable[..., Any]


async def told(app: Any, pieces: Iterable[bytes], limits: Limits | None = None) -> Client:
    """Send pieces one after the other, whatever the server says."""
    client = Server(app, limits).client()
    for piece in pieces:
        client.send(piece)
        await asyncio.sleep(0)
    await until(lambda: client.quiet)
    return client


def cut(data: bytes, seed: int) -> list[bytes]:
    """Return `data` in pieces; the same ones for a seed."""
    source = random.Random(seed)
    places = sorted(source.sample(range(1, len(data)), min(len(data) - 1, source.randint(1, 12))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_request_has_one_verdict(made: Make, name: str) -> None:
    sent, statuses, stays_open = CASES[name]
    app = made()

    async def main() -> None:
        for pieces in ([sent], cut(sent, 1), cut(sent, 2), [bytes([byte]) for byte in sent]):
            client = await told(app, pieces)
            assert [a.status for a in client.answers] == statuses, pieces
            assert client.closed is not stays_open, pieces
            for answer in client.answers:
                if answer.status >= 400:
                    assert answer.fields["content-type"] == "application/problem+json"

    asyncio.run(main())


REQUESTS = st.lists(
    st.sampled_from(
        [
            get("/d/1"),
            get("/d/22", "Accept: */*", "Cookie: a=b"),
            get("/kept"),
            get("/kept", "Content-Length: 12") + b"hello\r\n\r\nyou",
            get("/d/3", "Transfer-Encoding: chunked") + b"4\r\n\r\n\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            get("/d/4", "Transfer-Encoding: chunked") + b"0\r\nX-Trailer: 1\r\n\r\n",
            get("/d/abc"),
            get("/nothing"),
            get("/healthz"),
            b"\r\n" + get("/d/5"),
            get("/d/6", "Connection: close"),
            get("/d/7", "X: a\r\n b"),
            get("/d/8", "X: " + "x" * 900),
            get("/d/" + "9" * 600),
            get("/d/1", *[f"X-{n}: {n}" for n in range(12)]),
            b"garbage\r\n\r\n",
            b"GET /" + b"x" * 2000,
        ]
    ),
    min_size=1,
    max_size=6,
)
LIMITS = Limits(request_line=500, head=900, fields=10)


@pytest.mark.no_cover
@settings(max_examples=60)
@given(REQUESTS, st.integers(0, 2**32))
def test_where_the_bytes_are_cut_makes_no_difference(requests: list[bytes], seed: int) -> None:
    import respx

    sent = b"".join(requests)

    async def main() -> None:
        with respx.mock(base_url="http://a.test", assert_all_called=False) as router:
            router.get(path__regex=r"/x/\d+").respond(json="x")
            app = application(TEXT)
            whole = await told(app, [sent], LIMITS)
            pieces = await told(app, cut(sent, seed), LIMITS)
        assert verdicts(pieces) == verdicts(whole)
        assert pieces.closed == whole.closed

    asyncio.run(main())


def verdicts(client: Client) -> list[tuple[int, bytes]]:
    return [(a.status, a.body.partition(b'"errors"')[0]) for a in answers(client.received)]
