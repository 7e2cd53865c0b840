from __future__ import annotations

import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.freshness import CachePolicy
from gateway.cache.keys import Keys, netstring
from gateway.call import Deadline, Request
from gateway.upstreams.http.operation import HttpOperation

ascii_text = st.text(string.printable, max_size=12)
small = st.binary(max_size=6)
identities = st.tuples(
    st.binary(max_size=3),  # generation
    ascii_text,  # upstream
    ascii_text,  # method
    ascii_text,  # target
    st.lists(st.tuples(small, small), max_size=3),
)


def key(identity: Any, cache: Any = None) -> str:
    generation, upstream, method, target, headers = identity
    request = Request(HttpOperation(target, method, headers), Deadline(0), cache=cache)
    return Keys(generation, upstream).of(request)


def same(one: Any, two: Any) -> bool:
    """Whether two requests mean the same: header order counts within one name only."""
    return bool(
        one[:4] == two[:4]
        and sorted(one[4], key=lambda h: h[0]) == sorted(two[4], key=lambda h: h[0])
    )


@given(identities, identities)
def test_different_requests_have_different_keys(one: Any, two: Any) -> None:
    assert (key(one) == key(two)) == same(one, two)


@given(identities, st.data())
def test_characters_that_move_between_fields_make_another_key(one: Any, data: Any) -> None:
    """`/a` + `bc` is not `/ab` + `c`: the lengths are part of the key."""
    joined = one[2] + one[3]
    cut = data.draw(st.integers(0, len(joined)))
    two = (*one[:2], joined[:cut], joined[cut:], *one[4:])
    assert (key(one) == key(two)) == same(one, two)


@given(st.lists(st.binary(max_size=5)), st.lists(st.binary(max_size=5)))
def test_rows_of_netstrings_are_unambiguous(one: list[bytes], two: list[bytes]) -> None:
    rows = [b"".join(map(netstring, row)) for row in (one, two)]
    assert (rows[0] == rows[1]) == (one == two)


BASE: Any = (b"1", "users", "GET", "/users/1", [])


def test_a_key_is_short_and_ascii_and_the_same_in_every_process() -> None:
    assert len(key(BASE)) == 40
    assert key(BASE) == Keys(b"1", "users").of(
        Request(HttpOperation("/users/1"), Deadline(5), "elsewhere")
    )
    assert set(key(BASE)) <= set(string.hexdigits.lower())


def test_whose_credentials_they_are_is_part_of_the_key() -> None:
    headers = [
        [(b"authorization", b"Bearer a")],
        [(b"authorization", b"Bearer b")],
        [(b"cookie", b"Bearer a")],
        [(b"authorization", b"Bearer a"), (b"accept-language", b"de")],
        [],
    ]
    assert len({key((*BASE[:4], one)) for one in headers}) == len(headers)


def test_the_order_of_header_fields_counts_within_a_name_only() -> None:
    a, b, c = (b"a", b"1"), (b"a", b"2"), (b"b", b"3")
    assert key((*BASE[:4], [a, c])) == key((*BASE[:4], [c, a]))
    assert key((*BASE[:4], [a, b])) != key((*BASE[:4], [b, a]))


def test_a_policy_of_its_own_makes_another_key() -> None:
    minute, hour = CachePolicy(ttl=60), CachePolicy(ttl=3600)
    keys = Keys(b"1", "users", minute)

    def of(policy: object) -> str:
        return keys.of(Request(HttpOperation("/"), Deadline(0), cache=policy))

    assert of(None) == of(minute) == of(CachePolicy(ttl=60))
    assert of(hour) == of(CachePolicy(ttl=3600)) != of(None)
    assert of(hour) == Keys(b"1", "users").of(Request(HttpOperation("/"), Deadline(0), cache=hour))


def test_policies_are_remembered_within_bounds() -> None:
    keys = Keys(b"1", "users")
    for number in range(5000):
        keys.of(Request(HttpOperation("/"), Deadline(0), cache=CachePolicy(ttl=number)))
    assert len(keys._policies) < 4097
