from __future__ import annotations

from gateway.cache.store import Purges
from gateway.values.restrictions import UNRESTRICTED, Restriction
from gateway.web.response_cache import CachedAnswer, ResponseCache
from gateway.web.response_headers import Freshness


def answer(
    body: bytes = b"x",
    until: float | None = 100.0,
    *,
    complete: bool = True,
    restrictions: Restriction = UNRESTRICTED,
) -> CachedAnswer:
    fresh = Freshness(
        as_of=0.0, fresh_until=until, complete=complete, status="gateway; fwd=miss",
        restrictions=restrictions,
    )  # fmt: skip
    return CachedAnswer(body, b'"e"', fresh, b"t")


def key(name: str) -> tuple[bytes, bytes]:
    return (name.encode(), b"")


def test_an_answer_is_served_again_while_it_is_fresh() -> None:
    kept = ResponseCache(10_000, Purges())
    kept.put(key("a"), answer(), b"none", 0)
    found = kept.get(key("a"), 98.9)
    assert found is not None
    assert found.body == b"x"
    fields = dict(found.fields(50.0))
    assert fields[b"cache-status"] == b"gateway; hit; ttl=50"
    assert fields[b"age"] == b"50"
    assert fields[b"server-timing"] == b"none"
    assert found.fields(50.5) is found.fields(50.9)
    assert kept.get(key("a"), 99.0) is None  # the last second is for the sections' own cache
    assert kept.get(key("a"), 50.0) is None  # it is gone for good
    assert kept.get(key("b"), 0.0) is None


def test_what_is_not_fresh_or_not_complete_is_not_kept() -> None:
    kept = ResponseCache(10_000, Purges())
    kept.put(key("a"), answer(until=None), b"", 0)
    kept.put(key("b"), answer(complete=False), b"", 0)
    kept.put(key("c"), answer(b"x" * 20_000), b"", 0)
    assert [kept.get(key(name), 0.0) for name in "abc"] == [None] * 3


def test_what_is_not_for_a_shared_cache_is_not_kept() -> None:
    kept = ResponseCache(10_000, Purges())
    kept.put(key("a"), answer(restrictions=Restriction.PRIVATE), b"", 0)
    kept.put(key("b"), answer(restrictions=Restriction.NO_STORE), b"", 0)
    assert [kept.get(key(name), 0.0) for name in "ab"] == [None] * 2
    kept.put(key("c"), answer(restrictions=Restriction.VARIES), b"", 0)
    found = kept.get(key("c"), 0.0)  # its sections have a policy of their own
    assert found is not None
    assert dict(found.fields(1.0))[b"vary"] == b"*"
    assert dict(found.fields(1.0))[b"cache-control"] == b"no-cache"


def test_memory_is_bounded_and_the_least_recently_used_goes_first() -> None:
    kept = ResponseCache(6500, Purges())
    for name in "abc":
        kept.put(key(name), answer(), b"", 0)
    kept.get(key("a"), 0.0)
    kept.put(key("d"), answer(), b"", 0)
    assert [name for name in "abcd" if kept.get(key(name), 0.0)] == ["a", "c", "d"]
    kept.put(key("d"), answer(b"y" * 100), b"", 0)
    assert [name for name in "abcd" if kept.get(key(name), 0.0)] == ["a", "c", "d"]
    assert kept.size == sum(kept._cost(k, a) for k, a in kept._answers.items())


def test_a_purge_empties_it() -> None:
    purges = Purges()
    kept = ResponseCache(10_000, purges)
    kept.put(key("a"), answer(), b"", 0)
    purges.add("tag:x", purges.latest + 1)
    assert kept.get(key("a"), 0.0) is None
    assert kept.size == 0


def test_what_was_begun_before_a_purge_is_not_kept_after_it() -> None:
    purges = Purges()
    kept = ResponseCache(10_000, purges)
    mark = kept.mark
    purges.add("tag:x", purges.latest + 1)
    assert kept.get(key("a"), 0.0) is None  # another request: the purge has been noticed
    kept.put(key("a"), answer(), b"", mark)
    assert kept.get(key("a"), 0.0) is None
    kept.put(key("a"), answer(), b"", kept.mark)
    assert kept.get(key("a"), 0.0) is not None


def test_compressed_forms_count_and_go_with_their_answer() -> None:
    kept = ResponseCache(9000, Purges())
    first, large = answer(b"x" * 1000), answer(b"y" * 2000)
    kept.put(key("a"), first, b"", 0)
    kept.put(key("b"), large, b"", 0)
    before = kept.size
    kept.add_form(key("a"), first, b"gzip", b"g" * 300)
    kept.add_form(key("a"), first, b"br", b"b" * 200)
    assert kept.size == before + 500
    found = kept.get(key("a"), 0.0)
    assert found is not None
    assert found.forms == {b"gzip": b"g" * 300, b"br": b"b" * 200}
    kept.add_form(key("a"), first, b"gzip", b"g" * 100)  # made twice at the same time
    assert kept.size == before + 300
    kept.add_form(key("a"), first, b"zstd", b"z" * 3000)  # the one that was not asked for goes
    assert kept.get(key("b"), 0.0) is None
    assert kept.size == sum(kept._cost(k, a) for k, a in kept._answers.items())
    kept.add_form(key("a"), first, b"zstd", b"z" * 9000)  # larger than all of the cache
    assert found.forms[b"zstd"] == b"z" * 3000
    kept.put(key("a"), answer(b"another"), b"", 0)
    kept.add_form(key("a"), first, b"late", b"l")  # of the answer before
    assert kept.size == sum(kept._cost(k, a) for k, a in kept._answers.items()) < 3000
    kept.clear()
    assert kept.size == 0


def test_the_fields_of_a_form_are_those_of_its_second() -> None:
    one = answer()
    early = one.encoded_fields(50.0, b"gzip", 7)
    assert dict(early)[b"content-encoding"] == b"gzip"
    assert dict(early)[b"content-length"] == b"7"
    assert one.encoded_fields(50.9, b"gzip", 7) is early
    one.whole_fields(51.0)
    assert dict(one.encoded_fields(51.0, b"gzip", 7))[b"age"] == b"51"
