"""Whom to trust: the TLS side of an upstream connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import certifi

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TlsOptions", "tls_context", "unusable_files"]

# What OpenSSL says, by its version, of a file that has no key in it.
_NO_KEY = {None, "PEM_LIB", "NO_START_LINE"}


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
    not there, `ssl.SSLError` for one that is no PEM and `ValueError` for an encrypted key.
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
        context.load_cert_chain(options.client_cert, options.client_key, password=_no_pass_phrase)
    context.set_alpn_protocols(["http/1.1"])
    return context


def unusable_files(options: TlsOptions) -> dict[str, str]:
    """Return why `tls_context` would fail, by the option whose file is to blame."""
    files = {
        "ca_file": options.ca_file,
        "client_cert": options.client_cert,
        "client_key": options.client_key,
    }
    given = {option: path for option, path in files.items() if path is not None}
    found = {
        option: _unreadable(path, key=option == "client_key") for option, path in given.items()
    }
    wrong = {option: why for option, why in found.items() if why}
    if options.client_cert is not None and not wrong.keys() & {"client_cert", "client_key"}:
        why = _mismatch(options.client_cert, options.client_key)
        if why:
            # Where the key has a file of its own, the certificate's was read before it.
            wrong["client_cert" if options.client_key is None else "client_key"] = why
    return wrong


def _unreadable(path: str | Path, *, key: bool) -> str:
    """Return why a file holds no certificate, of a `key` only why it cannot be read; or nothing."""
    try:
        # OpenSSL's own words for a file that cannot be opened are less clear.
        with open(path, "rb"):  # noqa: PTH123 - a path may be a text
            pass
        if not key:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "holds no certificate in PEM"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:  # a NUL, or half of a surrogate pair
        return "is no name of a file"
    return ""


def _mismatch(certificate: str | Path, key: str | Path | None) -> str:
    """Return why a certificate cannot be shown with its key, or nothing."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, _no_pass_phrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "holds a key that is not the certificate's"
        if error.reason in _NO_KEY:
            return "holds no private key in PEM"
        return f"is refused: {error.reason.lower().replace('_', ' ')}"
    except ValueError as error:
        return str(error)
    return ""


def _no_pass_phrase() -> str:
    """Refuse an encrypted key; OpenSSL would ask at the terminal, and everything would wait."""
    raise ValueError("holds an encrypted key, and nobody is there to type its pass phrase")
