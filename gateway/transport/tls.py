"""Whom to trust: the TLS side of an upstream connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import certifi

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TlsOptions", "tls_context"]


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How the other side's certificate is checked; there is no way to leave the check out.

    Attributes:
        roots: the authorities trusted to begin with: certifi's list, the system's, or none.
        ca_file: PEM file of further authorities, such as a company's own.
        client_cert: PEM file of the certificate (and chain) that we show when asked.
        client_key: PEM file of its key where that is not in `client_cert`.
    """

    roots: Literal["certifi", "system", "none"] = "certifi"
    ca_file: str | Path | None = None
    client_cert: str | Path | None = None
    client_key: str | Path | None = None


def tls_context(options: TlsOptions) -> ssl.SSLContext:
    """Return a context for `options`: TLS 1.2 and up, host names checked, HTTP/1.1 by ALPN.

    Reads files; certifi's list takes some ten milliseconds. Raises `OSError` for a file that is
    not there and `ssl.SSLError` for one that is no PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.roots == "certifi":
        context.load_verify_locations(certifi.where())
    elif options.roots == "system":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if options.ca_file is not None:
        context.load_verify_locations(options.ca_file)
    if options.client_cert is not None:
        context.load_cert_chain(options.client_cert, options.client_key)
    context.set_alpn_protocols(["http/1.1"])
    return context
