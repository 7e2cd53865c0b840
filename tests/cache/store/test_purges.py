from __future__ import annotations

import pytest

from gateway.cache.store import Purges


@pytest.mark.parametrize("tag", ["*", "upstream:u", "key", "dashboard:d"])
def test_what_is_older_than_a_purge_is_outdated(tag: str) -> None:
    purges = Purges()
    purges.add(tag, 100)
    asked = ("upstream:u", "key", ("section:s", "dashboard:d"))
    assert purges.cover(99, *asked)
    assert not purges.cover(100, *asked)
    purges.add(tag, 50)  # late news
    assert not purges.cover(100, *asked)
    assert purges.latest == 100


def test_others_are_not() -> None:
    purges = Purges()
    purges.add("dashboard:other", 100)
    assert not purges.cover(0, "upstream:u", "key", ("dashboard:d",))


def test_news_of_others_are_merged() -> None:
    purges = Purges()
    purges.add("a", 5)
    purges.merge({"a": 3, "b": 7})
    assert (purges.since(0), purges.since(5), purges.latest) == ({"a": 5, "b": 7}, {"b": 7}, 7)


def test_too_many_become_one_of_everything() -> None:
    purges = Purges()
    for number in range(10_001):
        purges.add(f"tag:{number}", number + 1)
    assert purges.since(0) == {"*": 10_001}
    assert purges.cover(10_000, "", "", ())
