"""Parses the URL of a Redis, which may name several hosts.

`urllib.parse.urlsplit` is not used because it reads all hosts as one: some releases of Python (such
as 3.11.2 and 3.13.5, the ones in Debian) refuse a list in which a bracketed IPv6 address is not the
first.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

__all__ = ["Address", "parse_address"]

# RFC 3986 appendix B; the authority is split further down.
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?"
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>[^\s:\[\]]+))(?::(?P<port>[0-9]{0,9}))?")
_PORTS = range(1, 65536)


class Address(NamedTuple):
    """The parts of a Redis URL.

    Attributes:
        scheme: in lower case.
        username: percent-decoded, empty when there is none.
        password: likewise.
        hosts: each with its port, `None` where the URL names none; no host at all for a socket.
        path: percent-decoded, without slashes at its ends.
        query: the last value of each name.
    """

    scheme: str
    username: str
    password: str
    hosts: tuple[tuple[str, int | None], ...]
    path: str
    query: dict[str, str]


def parse_address(url: str) -> Address:
    """Return the parts of `url`.

    Raises:
        ValueError: the URL is invalid. The message quotes nothing of it, because a misplaced part
            may be a password.
    """
    found = _URL.fullmatch(url.strip())
    if found is None:
        raise ValueError("The URL has no scheme. Write redis://host:port/db.")
    credentials, _, hosts = found["authority"].rpartition("@")
    username, _, password = credentials.partition(":")
    if hosts and "@" in found["path"] + (found["query"] or "") + (found["fragment"] or ""):
        raise ValueError(
            "The URL has an @ after its hosts. Percent-encode /, ? and # in a password: %2F, %3F "
            "and %23."
        )
    return Address(
        found["scheme"].lower(),
        unquote(username),
        unquote(password),
        tuple(_host(written) for written in hosts.split(",")) if hosts else (),
        unquote(found["path"]).strip("/"),
        dict(parse_qsl(found["query"] or "")),
    )


def _host(written: str) -> tuple[str, int | None]:
    found = _HOST.fullmatch(written)
    if found is None:
        raise ValueError(
            "A host in the URL is invalid. Write host, host:port or [IPv6 address]:port, with a "
            "comma between hosts."
        )
    port = found["port"]
    if port and int(port) not in _PORTS:
        raise ValueError("A port in the URL is out of range. Ports go from 1 to 65535.")
    return _name(found), int(port) if port else None


def _name(found: re.Match[str]) -> str:
    if found["ipv6"] is None:
        return found["name"].lower()
    name = unquote(found["ipv6"])  # RFC 6874: the % of a zone is written %25
    try:
        IPv6Address(name)
    except ValueError:
        raise ValueError(
            "The text in brackets in the URL is not an IPv6 address. Write other hosts without "
            "brackets."
        ) from None
    return name
