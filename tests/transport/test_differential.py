"""Our transport against httpx's own, on the same bytes."""

from __future__ import annotations

import asyncio
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.transport import Exchange, Http1Transport, HttpxTransport, Origin
from gateway.transport.inflate import DESCRIBED
from gateway.transport.pools import PoolLimits
from tests.fault_server import Asked, FaultServer, Peer
from tests.transport.corpus import Case, corpus, truncated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

CASES = 2400
CHUNK = 600

Outcome = tuple[int, list[tuple[str, str]], bytes] | httpx.RequestError

# Where we refuse what httpx accepts, and why. The text of our error identifies each case.
STRICTER = {
    "Content-Length can't be present": "two framings are how answers are smuggled (RFC 9112 6.3)",
    "Transfer-Encoding can't be present": "likewise",
    "Duplicate Content-Length": "likewise, even where both say the same",
    "Invalid character in Content-Length": "likewise: a list of lengths",
    "Missing expected CR": "bare LF as line end (RFC 9112 2.2 lets a client refuse it)",
    "Invalid response status": "likewise, behind the status code",
    "Content-Length overflow": "more than 64 bits, on a HEAD even",
    "Missing expected LF": "bare CR as line end",
    "Expected LF after": "likewise",
    "Invalid header value char": "control characters in values (RFC 9110 5.5)",
    "Invalid header field char": "an empty name after a bare LF",
    "Invalid header token": "likewise",
    "Unexpected whitespace after header value": "obs-fold: a gateway must not (RFC 9112 5.2)",
    "Invalid HTTP version": "HTTP/1.2, 3.7",
    "HTTP/": "0.9 and 2.0 in a status line",
    "status 101": "an unsolicited protocol",
    "the reason phrase": "control characters",
    "Invalid character in chunk": "blanks and control characters in chunk heads",
    "Invalid character in Transfer-Encoding": "RFC 9112 7",
    "content encoding": "an encoding that cannot be bounded",
    "more than one content encoding": "layers multiply",
    "compressed content is truncated": "httpx takes the beginning for the whole",
    "content continues after": "httpx drops what follows the compressed end",
    "Error -3": "likewise, and deflate that httpx gives a second try as something else",
}


# httpx gives bare deflate a second try only if its first packet is longer than a byte.
LUCKY = b"deflate"


_LIMITS = PoolLimits(max_idle=0, connect_timeout=60)


def stock() -> httpx.AsyncHTTPTransport:
    """Return httpx's transport, each case on a connection of its own.

    It would use a connection again on which bytes are left over, and the next case would get them.
    """
    return httpx.AsyncHTTPTransport(
        trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
    )


def own() -> Http1Transport:
    return Http1Transport(_LIMITS)


def served(cases: Sequence[Case], *, resets: bool = False) -> FaultServer:
    by_path = {f"/{case.number}": case for case in cases}

    async def script(peer: Peer, asked: Asked) -> bool:
        for n, part in enumerate(by_path[asked.path].parts):
            if n:
                await asyncio.sleep(0.001)
            await peer.send(part)
        if resets:
            # A reset overtakes data that the other side has not read yet.
            await asyncio.sleep(0.02)
            peer.reset()
        return False

    return FaultServer(default=script)


async def through_httpx(url: str, cases: Sequence[Case], at_once: int = 16) -> list[Outcome]:
    # httpx's jar keeps damaged cookies and then fails to send them.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    async with httpx.AsyncClient(
        transport=stock(), timeout=60, trust_env=False, cookies=no_cookies
    ) as client:

        async def ask(case: Case) -> Outcome:
            try:
                answer = await client.request(case.method, f"{url}/{case.number}")
            except httpx.RequestError as error:
                return error
            return answer.status_code, answer.headers.multi_items(), answer.content

        return await gathered(ask, cases, at_once)


async def through_exchange(
    transport: Exchange, url: str, cases: Sequence[Case], at_once: int = 16
) -> list[Outcome]:
    origin = Origin.of(url)

    async def ask(case: Case) -> Outcome:
        target = b"/%d" % case.number
        try:
            answer = await transport.exchange(origin, case.method, target, timeout=60)
        except httpx.RequestError as error:
            return error
        headers = httpx.Headers(answer.headers).multi_items()
        return answer.status, headers, answer.body

    try:
        return await gathered(ask, cases, at_once)
    finally:
        await transport.aclose()


async def gathered(
    ask: Callable[[Case], Awaitable[Outcome]], cases: Sequence[Case], at_once: int
) -> list[Outcome]:
    gate = asyncio.Semaphore(at_once)

    async def one(case: Case) -> Outcome:
        async with gate:
            return await ask(case)

    return await asyncio.gather(*(one(case) for case in cases))


def without_inflated(outcome: Outcome) -> Outcome:
    """Leave out what `exchange` leaves out of the headers of an inflated answer."""
    if isinstance(outcome, httpx.RequestError):
        return outcome
    status, headers, body = outcome
    described = {name.decode() for name in DESCRIBED}
    return status, [field for field in headers if field[0] not in described], body


def agree(theirs: Outcome, ours: Outcome) -> bool:
    """Tell whether two outcomes are the same, the stricter bounds aside."""
    if isinstance(ours, httpx.RequestError):
        if str(ours).startswith(tuple(STRICTER)):
            return True
        if isinstance(theirs, httpx.DecodingError):
            # Damaged twice, in its framing and in its coding: either may be told first.
            return isinstance(ours, httpx.TransportError)
        return isinstance(theirs, httpx.RequestError) and isinstance(ours, type(theirs))
    if isinstance(theirs, httpx.RequestError):
        return False
    # h11 writes this one value in lower case.
    headers = [(n, v.lower() if n == "transfer-encoding" else v) for n, v in ours[1]]
    return theirs == (ours[0], headers, ours[2])


@pytest.mark.no_cover
@pytest.mark.parametrize("chunk", range(CASES // CHUNK))
async def test_same_answer_or_same_error_as_httpx(chunk: int) -> None:
    cases = corpus(CASES)[chunk * CHUNK : (chunk + 1) * CHUNK]
    async with served(cases) as server:
        theirs = await through_httpx(server.url, cases)
        ours = await through_exchange(own(), server.url, cases)
    for case, one, two in zip(cases, theirs, ours, strict=True):
        if LUCKY not in case.raw or not isinstance(one, httpx.DecodingError):
            assert agree(without_inflated(one), without_inflated(two)), (case, one, two)
    # The list of stricter bounds must not swallow the corpus.
    refused = [1 for one, two in zip(ours, theirs, strict=True) if type(one) is not type(two)]
    assert len(refused) < CHUNK // 10


async def test_same_outcome_over_a_reset_connection() -> None:
    cases = truncated(60)
    async with served(cases, resets=True) as server:
        theirs = await through_httpx(server.url, cases, at_once=1)
        ours = await through_exchange(own(), server.url, cases, at_once=1)
    for case, one, two in zip(cases, theirs, ours, strict=True):
        assert agree(without_inflated(one), without_inflated(two)), (case, one, two)
    assert any(isinstance(outcome, httpx.ReadError) for outcome in ours)


@pytest.mark.no_cover
async def test_both_transports_of_the_gateway_agree() -> None:
    cases = corpus(400)
    async with served(cases) as server:
        theirs = await through_exchange(HttpxTransport(_LIMITS), server.url, cases)
        ours = await through_exchange(own(), server.url, cases)
    for case, one, two in zip(cases, theirs, ours, strict=True):
        assert agree(one, two), (case, one, two)


def test_the_corpus_is_the_same_every_time_and_mixed() -> None:
    cases = corpus(CASES)
    assert cases == corpus(CASES)
    assert cases != corpus(CASES, seed=2)
    assert {case.method for case in cases} == {"GET", "POST", "HEAD"}
    assert sum(len(case.parts) > 1 for case in cases) > CASES // 5
