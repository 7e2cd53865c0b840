"""What a configuration needs of the machine: PEM files, packages. What is not there is told."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from gateway.config.models import Config
from gateway.errors import ConfigError
from gateway.plan.load import compile_config, loads
from gateway.transport.tls import TlsOptions, tls_context
from gateway.upstreams.http.config import HttpUpstreamConfig

if TYPE_CHECKING:
    from pathlib import Path

NOT_THERE = "cannot be read: No such file or directory"


def document(upstream: str) -> str:
    return (
        f"upstreams:\n  a:\n    base_url: https://a.test\n    {upstream}\n"
        'dashboards: {d: {path: /d, sections: {x: {get: "a:/"}}}}\n'
    )


def diagnostics(upstream: str, **environment: str) -> list[str]:
    """Return `column: message` for each mistake; all are in line 4."""
    try:
        loads(document(upstream), "f", environment)
    except ConfigError as error:
        return [line.removeprefix("f:4:") for line in error.lines()]
    return []


def encrypted(key: bytes) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


@pytest.fixture(scope="module")
def pems() -> dict[str, bytes]:
    authority = trustme.CA()
    own, other = authority.issue_cert("a.test"), authority.issue_cert("b.test")
    certificate, key = own.cert_chain_pems[0].bytes(), own.private_key_pem.bytes()
    return {
        "ca": authority.cert_pem.bytes(),
        "cert": certificate,
        "key": key,
        "both": certificate + key,
        "other": other.private_key_pem.bytes(),
        "mixed": certificate + other.private_key_pem.bytes(),
        "encrypted": encrypted(key),
        "text": b"no PEM",
        "broken": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "binary": bytes(range(256)),
    }


@pytest.fixture
def working_directory(
    pems: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in pems.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)


MISTAKES = [
    ("ca_file: nope", [f"20: ca_file {NOT_THERE}"]),
    ('ca_file: ""', [f"20: ca_file {NOT_THERE}"]),
    ("ca_file: .", ["20: ca_file cannot be read: Is a directory"]),
    ('ca_file: "a\\0b"', ["20: ca_file is not a valid file name"]),
    ("ca_file: text", ["20: ca_file does not contain a PEM certificate"]),
    ("ca_file: broken", ["20: ca_file does not contain a PEM certificate"]),
    ("ca_file: binary", ["20: ca_file does not contain a PEM certificate"]),
    ("ca_file: key", ["20: ca_file does not contain a PEM certificate"]),
    ("client_cert: nope", [f"24: client_cert {NOT_THERE}"]),
    ("client_cert: text", ["24: client_cert does not contain a PEM certificate"]),
    ("client_cert: cert", ["24: client_cert does not contain a PEM private key"]),
    ("client_cert: mixed", ["24: client_cert contains a key that does not match the certificate"]),
    ("client_cert: cert, client_key: nope", [f"42: client_key {NOT_THERE}"]),
    ("client_cert: cert, client_key: text", ["42: client_key does not contain a PEM private key"]),
    ("client_cert: cert, client_key: other",
     ["42: client_key contains a key that does not match the certificate"]),
    ("client_cert: cert, client_key: encrypted",
     ["42: client_key contains an encrypted key; write the key to the file without a pass phrase"]),
    ("ca_file: text, client_cert: nope, client_key: nope",
     ["20: ca_file does not contain a PEM certificate", f"39: client_cert {NOT_THERE}",
      f"57: client_key {NOT_THERE}"]),
]  # fmt: skip


@pytest.mark.usefixtures("working_directory")
@pytest.mark.parametrize(("tls", "expected"), MISTAKES)
def test_a_file_that_cannot_be_used_is_told_at_its_name(tls: str, expected: list[str]) -> None:
    assert diagnostics(f"tls: {{{tls}}}") == expected
    options = dict(pair.split(": ") for pair in tls.replace('"', "").split(", "))
    options = {name: value.replace("\\0", "\0") for name, value in options.items()}
    with pytest.raises((OSError, ValueError)):  # what it would have ended with
        tls_context(TlsOptions(**options))  # type: ignore[arg-type]


@pytest.mark.usefixtures("working_directory")
@pytest.mark.parametrize(
    "tls", ["ca_file: ca", "client_cert: both", "ca_file: both, client_cert: cert, client_key: key"]
)
def test_files_that_can_be_used_are_no_mistake(tls: str) -> None:
    assert diagnostics(f"tls: {{{tls}}}") == []


@pytest.mark.usefixtures("working_directory")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca").chmod(0)
    assert diagnostics("tls: {ca_file: ca}") == ["20: ca_file cannot be read: Permission denied"]


def test_a_name_from_the_environment_is_looked_at_and_not_told() -> None:
    assert diagnostics('tls: {ca_file: "${CA}"}', CA="/secret") == [f"20: ca_file {NOT_THERE}"]
    (told,) = diagnostics('tls: {ca_file: "${CA}"}')
    assert "CA is not set" in told


def test_a_configuration_made_in_code_is_looked_at_as_strictly() -> None:
    good = loads(document("timeout: 1s")).config
    upstream = HttpUpstreamConfig.model_validate(
        {"base_url": "https://a.test", "tls": {"ca_file": "nope"}}
    )
    with pytest.raises(ConfigError, match=f"ca_file {NOT_THERE}"):
        compile_config(Config(upstreams={"a": upstream}, dashboards=good.dashboards))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks_without_its_package_is_told(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    assert diagnostics(f'proxy: "{scheme}://p.test:1080"\n    transport: httpx') == [
        "12: SOCKS needs the package socksio, which is not installed; install httpx[socks]"
    ]


@pytest.mark.parametrize(
    ("proxy", "why"),
    [
        ("http://", "write the URL of a proxy"),
        ("http://:80", "write the URL of a proxy"),
        ("http://p.test:99999", "the port must be a number from 1 to 65535"),
        ("http://p.test:0", "the port must be a number from 1 to 65535, not 0"),
        ("http://p.test:x", "the port must be a number"),
        ("http://1.2.3.999", "'1.2.3.999' does not appear to be"),
        ("http://[::x]", "'::x' does not appear to be"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://p .test", "a URL must be ASCII"),
        ("http://p\u00fc.test", "a URL must be ASCII"),
    ],
)
def test_a_proxy_that_is_no_url_is_told(proxy: str, why: str) -> None:
    (told,) = diagnostics(f'proxy: "{proxy}"\n    transport: httpx')
    assert told.startswith(f"12: {why}")


@pytest.mark.parametrize(
    "proxy", ["http://p.test", "https://u:p%40@p.test:3128/", "http://[::1]:80", "http://1.2.3.4:1"]
)
def test_proxies_that_are_fine(proxy: str) -> None:
    assert diagnostics(f'proxy: "{proxy}"\n    transport: httpx') == []
    httpx.Proxy(proxy)
