from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.http.redirects import redirected_to


@pytest.mark.parametrize(
    ("location", "place"),
    [
        (b"https://b.example/v2", "https://b.example/v2"),
        (b"http://b.example:8080/", "http://b.example:8080/"),
        (b"//b.example/v2", "//b.example/v2"),
        (b"/login", "/login"),
        (b"login", "login"),
        (b"https://user:secret@b.example/v2?token=secret#secret", "https://b.example/v2"),
        (b"/login;jsessionid=secret?x", "/login"),
        (b"http://[::1]:80/x", "http://[::1]:80/x"),
        (b"http://[/x", ""),
        (b"/\xff", ""),
        (b"/\x01", ""),
        (b"?a=1", ""),
        (b"", ""),
    ],
)
def test_a_redirect_points_to_scheme_host_and_path(location: bytes, place: str) -> None:
    assert redirected_to(302, [(b"x", b"y"), (b"location", location)]) == place


@pytest.mark.parametrize("status", [200, 201, 300, 304, 404])
def test_other_answers_point_nowhere(status: int) -> None:
    assert redirected_to(status, [(b"location", b"/x")]) == ""


def test_a_redirect_without_location_points_nowhere() -> None:
    assert redirected_to(301, []) == ""


@given(st.binary() | st.text().map(str.encode) | st.just(b"/" + b"x" * 5000))
def test_any_location_is_a_short_printable_place(location: bytes) -> None:
    place = redirected_to(307, [(b"location", location)])
    assert place.isascii()
    assert place.isprintable()
    assert len(place) <= 200
