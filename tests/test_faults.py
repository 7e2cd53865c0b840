"""Every fault of an upstream ends in a typed section error, inside the deadline, beside a healthy one.

Over real sockets: the gateway's own transport against a server that answers byte by byte.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.fault_server import (
    RETRY_AFTER,
    UNRESOLVABLE,
    Authority,
    FaultServer,
    Script,
    answer,
    deflated,
    drip,
    encoded,
    endless,
    gzip_bomb,
    hang,
    header_flood,
    in_turn,
    once_per_connection,
    redirect,
    then_close,
    then_reset,
    too_many,
    whole,
)
from tests.ports import refused
from tests.serving import application, asked
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

IMPATIENT = "300ms"
PATIENT = "60s"
GOOD = answer(body=b'{"good":1}')
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def dashboard(url: str, good: str, *, timeout: str = PATIENT, tls: str = "") -> str:
    """Return a configuration with one section at fault and one that is healthy."""
    return f"""
    upstreams:
      bad: {{base_url: "{url}", timeout: {timeout}, max_body: 1MiB{tls}}}
      good: {{base_url: "{good}"}}
    dashboards:
      d:
        path: /d
        deadline: {PATIENT}
        sections: {{bad: {{get: "bad:/bad"}}, good: {{get: "good:/good"}}}}
    """


CANARY = "http://127.0.0.1:9/canary"


async def suffered(
    url: str, good: str, *, timeout: str = PATIENT, tls: str = ""
) -> tuple[str | None, int | None]:
    """Return code and status of the section's error, everything else being as it should.

    What waits for a fault to end waits for ever: the error itself shows that something cut it off.
    Only `upstream_timeout` is to be had by the clock, and only where a fault hangs.
    """
    async with asked(application(dashboard(url, good, timeout=timeout, tls=tls))) as client:
        response = await client.get("/d")
    document = json.loads(response.content, parse_constant=pytest.fail)
    assert response.status_code == 200
    assert document["data"]["good"] == {"good": 1}
    if not document["errors"]:
        assert document["data"]["bad"] is not None
        return None, None
    (error,) = document["errors"]
    assert document["data"]["bad"] is None
    assert (error["section"], error["upstream"]) == ("bad", "bad")
    # No address of ours is told; where a redirect points is what the upstream said.
    assert "127.0.0.1" not in error["detail"].replace(CANARY, "")
    return error["code"], error["status"]


FAULTS: dict[str, tuple[Script, str | None, int | None]] = {
    "hangs before the head": (hang(), "upstream_timeout", None),
    "hangs in the head": (hang(b"HTTP/1.1 200 O"), "upstream_timeout", None),
    "hangs after the head": (hang(HEAD + b"content-length: 9\r\n\r\n"), "upstream_timeout", None),
    "drips": (drip(GOOD, pause=0.05), "upstream_timeout", None),
    "drips fast enough": (drip(GOOD, pause=0.0005), None, None),
    "drops after the request": (then_close(), "upstream_unreachable", None),
    "resets after the request": (then_reset(), "upstream_unreachable", None),
    "resets in the body": (
        then_reset(HEAD + b'content-length: 9\r\n\r\n{"a"'), "upstream_unreachable", None,
    ),
    "is shorter than it says": (
        then_close(answer(body=b'{"a":1}', length=99)), "upstream_unreachable", None,
    ),
    "has bad chunks": (
        whole(HEAD + b"transfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n"),
        "upstream_unreachable", None,
    ),
    "is not HTTP": (whole(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "upstream_unreachable", None),
    "has no JSON": (whole(answer(body=b"<html>")), "upstream_payload", None),
    "has NaN": (whole(answer(body=b"[NaN]")), "upstream_payload", None),
    "is half a document": (whole(answer(body=b'{"a":')), "upstream_payload", None),
    "is another type": (
        whole(answer(body=b"{}", headers=[("content-type", "text/html")])),
        "upstream_payload", None,
    ),
    "answers 500": (whole(answer(500)), "upstream_status", 500),
    "answers 404": (whole(answer(404)), "upstream_status", 404),
    "redirects to a canary": (
        whole(redirect(CANARY)), "upstream_status", 302,
    ),
    "is huge": (
        endless(HEAD + b"content-length: 2147483648\r\n\r\n", limit=4 << 20),
        "upstream_payload", None,
    ),
    "is huge in chunks": (
        endless(HEAD + b"transfer-encoding: chunked\r\n\r\n",
                b"10000\r\n" + b"x" * 65536 + b"\r\n", limit=4 << 20),
        "upstream_payload", None,
    ),
    "is a bomb": (whole(encoded(gzip_bomb(), "gzip")), "upstream_payload", None),
    "is a bomb in a bomb": (
        whole(encoded(gzip_bomb(layers=2), "gzip, gzip")), "upstream_payload", None,
    ),
    "is encoded as nobody asked": (whole(encoded(b"{}", "br")), "upstream_payload", None),
    "is said to be gzip": (whole(encoded(b"{}", "gzip")), "upstream_payload", None),
    "is deflated": (whole(encoded(deflated(b"{}"), "deflate")), None, None),
    "floods with fields": (whole(header_flood(5000)), "upstream_payload", None),
    "floods with wide fields": (whole(header_flood(100, 4096)), "upstream_payload", None),
    **{
        f"asks to wait: {name}": (whole(too_many(value)), "upstream_status", 429)
        for name, value in RETRY_AFTER.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_a_section_error(name: str) -> None:
    script, code, status = FAULTS[name]
    async with FaultServer({"/bad": script, "/good": whole(GOOD)}) as server:
        timeout = IMPATIENT if code == "upstream_timeout" else PATIENT
        assert await suffered(server.url, server.url, timeout=timeout) == (code, status)


async def test_nobody_listens() -> None:
    async with FaultServer({"/good": whole(GOOD)}) as server:
        with refused() as port:
            url = f"http://127.0.0.1:{port}"
            assert await suffered(url, server.url) == ("upstream_unreachable", None)


async def test_no_such_name() -> None:
    async with FaultServer({"/good": whole(GOOD)}) as server:
        code, _ = await suffered(f"http://{UNRESOLVABLE}", server.url, timeout=IMPATIENT)
        assert code in {"upstream_unreachable", "upstream_timeout"}


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        ({}, None),
        ({"expired": True}, "upstream_unreachable"),
        ({"name": "elsewhere.test"}, "upstream_unreachable"),
    ],
)
async def test_certificates(
    tmp_path: Path, certificate: dict[str, object], code: str | None
) -> None:
    authority = Authority()
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem())
    tls = f', tls: {{roots: none, ca_file: "{ca}"}}'
    context = authority.context(**certificate)  # type: ignore[arg-type]
    async with (
        FaultServer({"/good": whole(GOOD)}) as good,
        FaultServer({"/bad": whole(GOOD)}, tls=context) as server,
    ):
        assert await suffered(server.url, good.url, tls=tls) == (code, None)


async def test_an_authority_that_nobody_told_us_of_is_refused() -> None:
    async with (
        FaultServer({"/good": whole(GOOD)}) as good,
        FaultServer({"/bad": whole(GOOD)}, tls=Authority().context()) as server,
    ):
        assert await suffered(server.url, good.url) == ("upstream_unreachable", None)


async def test_a_burst_of_500s_is_retried() -> None:
    burst = in_turn(whole(answer(503)), whole(answer(502)), whole(GOOD))
    async with FaultServer({"/bad": burst, "/good": whole(GOOD)}) as server:
        text = dashboard(server.url, server.url).replace(
            "max_body: 1MiB", "retry: {attempts: 3, base: 10ms}"
        )
        async with asked(application(text)) as client:
            assert (await client.get("/d")).json()["data"]["bad"] == {"good": 1}
        assert [asked.path for asked in server.asked].count("/bad") == 3


async def test_the_race_of_a_closed_keep_alive_connection_is_nobodys_error() -> None:
    racy = once_per_connection(GOOD)
    async with FaultServer({"/bad": racy, "/good": whole(GOOD)}) as server:
        async with asked(application(dashboard(server.url, server.url))) as client:
            for _ in range(5):
                assert (await client.get("/d")).json()["errors"] == []


async def test_no_cookie_is_ever_replayed() -> None:
    cookie = answer(
        body=b"{}", headers=[("set-cookie", "sid=1"), ("content-type", "application/json")]
    )
    async with FaultServer({"/bad": whole(cookie), "/good": whole(GOOD)}) as server:
        async with asked(application(dashboard(server.url, server.url))) as client:
            answers = [await client.get("/d") for _ in range(3)]
        assert all(asked.header(b"cookie") is None for asked in server.asked)
        assert all("set-cookie" not in a.headers for a in answers)


async def test_one_upstream_that_hangs_with_all_its_permits_taken_slows_nobody() -> None:
    async with FaultServer({"/bad": hang(), "/good": whole(GOOD)}) as server:
        text = dashboard(server.url, server.url).replace(
            "max_body: 1MiB", "concurrency: 2, queue: 4, queue_timeout: 60s"
        )
        text = text.rstrip() + '\n      g: {path: /g, sections: {good: {get: "good:/good"}}}\n'
        async with asked(application(text)) as client:
            hanging = [asyncio.create_task(client.get("/d")) for _ in range(20)]
            await until(lambda: sum(one.done() for one in hanging) == 14)
            good = [(await client.get("/g")).json()["data"]["good"] for _ in range(20)]
            left = [one for one in hanging if not one.done()]
            for one in left:
                one.cancel()
            await asyncio.wait(left)
        codes = {
            error["code"]
            for one in hanging
            if one not in left
            for error in one.result().json()["errors"]
        }
        assert good == [{"good": 1}] * 20
        assert len(left) == 6  # two permits and four places: they hung all the while
        assert codes == {"limiter_full"}
