from __future__ import annotations

import urllib.parse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.store.redis import url as connect
from gateway.cache.store.redis.address import Address, parse_address


def test_all_parts_of_a_url_are_read() -> None:
    assert parse_address(" REDISS://Us%65r:p%40ss@Host:7000/3?ssl_ca_certs=%2Fa.pem&x=1#f\n") == (
        Address(
            "rediss", "User", "p@ss", (("host", 7000),), "3", {"ssl_ca_certs": "/a.pem", "x": "1"}
        )
    )
    assert parse_address("unix:///run/re%64is@1.sock?db=1") == (
        Address("unix", "", "", (), "run/redis@1.sock", {"db": "1"})
    )


@pytest.mark.parametrize(
    ("written", "hosts"),
    [
        ("one:1,[::1]:3", [("one", 1), ("::1", 3)]),
        ("[::1]:3,one:1", [("::1", 3), ("one", 1)]),
        ("[::1],[fe80::1%25eth0]:2,two", [("::1", None), ("fe80::1%eth0", 2), ("two", None)]),
        ("one:,a_b:65535", [("one", None), ("a_b", 65535)]),
    ],
)
def test_each_host_of_a_list_is_read(written: str, hosts: list[tuple[str, int | None]]) -> None:
    for credentials in ("", ":secret@", "user:secret@", "a@b:c@"):
        assert parse_address(f"redis+sentinel://{credentials}{written}/main").hosts == tuple(hosts)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one:1,[::1]:3/main",
        "redis+cluster://one:1,[::1]:3",
        "redis://one:1,[::1]:3?cluster=true",
    ],
)
def test_urlsplit_is_never_asked_to_read_a_list_of_hosts(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raises `Invalid IPv6 URL` on Debian's 3.11.2 and 3.13.5, and passes on others."""
    original = urllib.parse.urlsplit

    def urlsplit(url: Any, *arguments: Any, **options: Any) -> Any:
        assert "," not in str(url)
        return original(url, *arguments, **options)

    monkeypatch.setattr(urllib.parse, "urlsplit", urlsplit)
    assert not hasattr(connect, "urlsplit")
    connect.connector(url)()


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "redis://host:port/db"),
        ("host:6379", "redis://host:port/db"),
        ("redis://one,", "with a comma between hosts"),
        ("redis://a b", "host:port"),
        ("redis://::1", "[IPv6 address]:port"),
        ("redis://[::1", "[IPv6 address]:port"),
        ("redis://[::1]x", "[IPv6 address]:port"),
        ("redis://[one]", "without brackets"),
        ("redis://one:port", "host:port"),
        ("redis://one:0", "from 1 to 65535"),
        ("redis://one:65536", "from 1 to 65535"),
        ("redis://one:" + "9" * 5000, "host:port"),
        ("redis://:pass/word@one", "Percent-encode"),
        ("redis://user:12/word@one", "Percent-encode"),
        ("redis://user:12?word@one", "Percent-encode"),
        ("redis://user:12#word@one", "Percent-encode"),
    ],
)
def test_what_cannot_be_read_is_a_sentence_without_credentials(url: str, advice: str) -> None:
    with pytest.raises(ValueError, match=r"^[A-Z].*\. .*\.$") as raised:
        parse_address(url)
    assert advice in str(raised.value)
    assert "word" not in str(raised.value).replace("password", "")
    assert raised.value.__cause__ is None


@given(st.text("redis:/?#[]@,%+.0123456789\n é", max_size=40))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = parse_address("redis://" + text)
    except ValueError:
        return
    assert all(name and (port is None or 1 <= port <= 65535) for name, port in address.hosts)
