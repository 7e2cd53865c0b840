from __future__ import annotations

import pytest

from gateway.values.provenance import FETCHED, Provenance
from gateway.values.restrictions import Restriction

HIT = Provenance(as_of=5.0, fresh_until=9.0, cache="hit")
MISS = Provenance(as_of=7.0, fresh_until=8.0, cache="miss", restrictions=Restriction.PRIVATE)
LATE = ValueError("late")
STALE = Provenance(as_of=1.0, fresh_until=2.0, stale=True, reason=LATE, cache="stale")


def test_further_restrictions_are_added() -> None:
    both = Restriction.PRIVATE | Restriction.NO_STORE
    assert MISS.restricted(Restriction.NO_STORE) == MISS.but(restrictions=both)
    assert FETCHED.restricted(Restriction(0)) is FETCHED


@pytest.mark.parametrize(
    ("together", "expected"),
    [
        ([], FETCHED),
        ([FETCHED, FETCHED], FETCHED),
        ([HIT], HIT),
        ([HIT, MISS], MISS.but(as_of=5.0)),
        ([HIT, STALE], STALE),
        ([HIT, FETCHED], Provenance(as_of=5.0)),
        ([STALE, MISS], STALE.but(restrictions=Restriction.PRIVATE)),
    ],
)
def test_a_list_is_as_good_as_its_worst_element(
    together: list[Provenance], expected: Provenance
) -> None:
    assert Provenance.of_all(together) == expected


def test_lists_of_fetched_answers_share_one_object() -> None:
    assert Provenance.of_all([FETCHED, FETCHED]) is FETCHED
