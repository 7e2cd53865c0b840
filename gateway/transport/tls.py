"""TLS options of upstream connections: trusted authorities and client certificates."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import certifi

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TlsOptions", "Trust", "tls_context", "unusable_files"]

# OpenSSL's reasons, by version, for a file without a key.
_NO_KEY = {None, "PEM_LIB", "NO_START_LINE"}


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How the server's certificate is verified; verification cannot be disabled.

    Attributes:
        roots: the base CA certificates: certifi's list, the system's, or none.
        ca_file: PEM file of further CA certificates, such as a company's own.
        client_cert: PEM file of the client certificate (and chain).
        client_key: PEM file of its key, if that is not in `client_cert`.
    """

    roots: Literal["certifi", "system", "none"] = "certifi"
    ca_file: str | Path | None = None
    client_cert: str | Path | None = None
    client_key: str | Path | None = None


def tls_context(options: TlsOptions) -> ssl.SSLContext:
    """Return a context for `options`: TLS 1.2 and up, host names checked, HTTP/1.1 by ALPN.

    Reads files; certifi's list takes about ten milliseconds. Raises `OSError` for a missing file,
    `ssl.SSLError` for one that is not PEM and `ValueError` for an encrypted key.
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


class Trust:
    """The TLS context of a transport, which is read from its files when it is first needed.

    Args:
        tls: options, or a context that is used unchanged; by default certifi's CA list.
    """

    __slots__ = ("_context", "_options")

    def __init__(self, tls: TlsOptions | ssl.SSLContext | None) -> None:
        self._context = tls if isinstance(tls, ssl.SSLContext) else None
        self._options = tls if isinstance(tls, TlsOptions) else TlsOptions()

    @property
    def context(self) -> ssl.SSLContext:
        """The context; raises what `tls_context` does."""
        if self._context is None:
            self._context = tls_context(self._options)
        return self._context


def unusable_files(options: TlsOptions) -> dict[str, str]:
    """Return why `tls_context` would fail, by the option of the unusable file."""
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
            # With a separate key file, the certificate was read successfully before the key.
            wrong["client_cert" if options.client_key is None else "client_key"] = why
    return wrong


def _unreadable(path: str | Path, *, key: bool) -> str:
    """Return why a file is not a readable certificate (or a readable file, for a `key`), or ""."""
    try:
        # OpenSSL's message for a file that cannot be opened is less clear.
        with open(path, "rb"):  # noqa: PTH123 - a path may be a text
            pass
        if not key:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "does not contain a PEM certificate"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:  # a NUL, or half of a surrogate pair
        return "is not a valid file name"
    return ""


def _mismatch(certificate: str | Path, key: str | Path | None) -> str:
    """Return why a certificate cannot be used with its key, or ""."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, _no_pass_phrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "contains a key that does not match the certificate"
        if error.reason in _NO_KEY:
            return "does not contain a PEM private key"
        return f"cannot be used: {error.reason.lower().replace('_', ' ')}"
    except ValueError as error:
        return str(error)
    return ""


def _no_pass_phrase() -> str:
    """Refuse an encrypted key; OpenSSL would prompt at the terminal and block the process."""
    raise ValueError("contains an encrypted key; write the key to the file without a pass phrase")
