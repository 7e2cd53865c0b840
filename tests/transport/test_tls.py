"""TLS against certificates of our own authority."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.transport import Http1Transport, HttpxTransport, Origin, TlsOptions, mocked
from gateway.transport.tls import Trust, tls_context
from tests.fault_server import Authority, FaultServer, Peer, answer, whole

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.transport import Exchange

GOOD = whole(answer(body=b"safe"))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def trusting(authority: Authority, tmp_path: Path) -> TlsOptions:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem())
    return TlsOptions(roots="none", ca_file=ca_file)


@pytest.mark.parametrize("kind", [Http1Transport, HttpxTransport])
async def test_a_certificate_of_the_authority_is_trusted(
    authority: Authority, trusting: TlsOptions, kind: type[Http1Transport | HttpxTransport]
) -> None:
    transport: Exchange = kind(tls=trusting)
    async with FaultServer(default=GOOD, tls=authority.context()) as server:
        origin = Origin.of(server.url)
        for _ in range(2):
            assert (await transport.exchange(origin, "GET", b"/", timeout=60)).body == b"safe"
        assert server.connections == 1
        await transport.aclose()


@pytest.mark.parametrize("kind", [Http1Transport, HttpxTransport])
@pytest.mark.parametrize("fault", ["expired", "wrong host", "unknown authority", "no TLS"])
async def test_what_cannot_be_trusted_is_a_connect_error(
    authority: Authority,
    trusting: TlsOptions,
    kind: type[Http1Transport | HttpxTransport],
    fault: str,
) -> None:
    context = {
        "expired": authority.context(expired=True),
        "wrong host": authority.context("elsewhere.example"),
        "unknown authority": Authority().context(),
        "no TLS": None,
    }[fault]
    transport: Exchange = kind(tls=trusting)

    async def plain(peer: Peer) -> bool:
        await peer.send(answer(400))
        return False

    greeting = None if context else plain
    async with FaultServer(default=GOOD, tls=context, greeting=greeting) as server:
        origin = Origin("https", "127.0.0.1", server.port)
        with pytest.raises(httpx.ConnectError):
            await transport.exchange(origin, "GET", b"/", timeout=60)
        assert server.asked == []
    await transport.aclose()


async def test_the_name_that_is_asked_for_can_be_another(
    authority: Authority, trusting: TlsOptions
) -> None:
    transport = Http1Transport(tls=tls_context(trusting))
    context = authority.context("api.example")
    async with FaultServer(default=GOOD, tls=context) as server:
        origin = Origin("https", "127.0.0.1", server.port, server_hostname="api.example")
        assert (await transport.exchange(origin, "GET", b"/", timeout=60)).body == b"safe"
        assert server.connections == 1
    await transport.aclose()


def test_the_check_is_always_on_and_old_protocols_are_off(tmp_path: Path) -> None:
    for roots in ("certifi", "system", "none"):
        context = tls_context(TlsOptions(roots=roots))
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert len(tls_context(TlsOptions()).get_ca_certs()) > 50
    assert tls_context(TlsOptions(roots="none")).get_ca_certs() == []


async def test_a_client_certificate_is_shown(authority: Authority, tmp_path: Path) -> None:
    ca_file, client = tmp_path / "ca.pem", tmp_path / "client.pem"
    ca_file.write_bytes(authority.pem())
    certificate = authority.ca.issue_cert("gateway@example.org")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(client))
    context = authority.context()
    context.verify_mode = ssl.CERT_REQUIRED
    authority.ca.configure_trust(context)
    async with FaultServer(default=GOOD, tls=context) as server:
        origin = Origin.of(server.url)
        known = Http1Transport(tls=TlsOptions(roots="none", ca_file=ca_file, client_cert=client))
        assert (await known.exchange(origin, "GET", b"/", timeout=60)).body == b"safe"
        await known.aclose()
        # With TLS 1.3 the refusal comes after the handshake.
        stranger = Http1Transport(tls=TlsOptions(roots="none", ca_file=ca_file))
        with pytest.raises(httpx.TransportError):
            await stranger.exchange(origin, "GET", b"/", timeout=60)
        await stranger.aclose()


def test_the_default_is_certifis_list() -> None:
    assert len(Trust(None).context.get_ca_certs()) > 50


def test_files_are_read_when_the_context_is_first_needed_and_only_then() -> None:
    missing = Trust(TlsOptions(ca_file="/nowhere.pem"))
    Http1Transport(tls=TlsOptions(ca_file="/nowhere.pem"))
    with pytest.raises(OSError, match="No such file"):
        _ = missing.context
    trust = Trust(TlsOptions(roots="none"))
    assert trust.context is trust.context


def test_mocked_upstreams_read_the_list_of_cas_once_and_a_file_each_time(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[TlsOptions] = []

    def counted(options: TlsOptions) -> ssl.SSLContext:
        read.append(options)
        return tls_context(options)

    monkeypatch.setattr(mocked, "tls_context", counted)
    mocked._context_of.cache_clear()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem())
    own = TlsOptions(ca_file=ca_file)
    for options in (None, TlsOptions(), own, own, TlsOptions(roots="none")):
        mocked.Mocked(tls=options)
    assert read == [TlsOptions(), own, own, TlsOptions(roots="none")]


def test_a_context_of_ones_own_is_used_unchanged() -> None:
    context = tls_context(TlsOptions(roots="none"))
    assert Trust(context).context is context
