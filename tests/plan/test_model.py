from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from tests.planning import plan

WHOLE = """
one: {get: "a:/one/{id}", required: true, cache: {ttl: 1m}}
each: {for_each: {in: "{one.l}", as: e, key: id, limit: 7, concurrency: 3}, get: "b:/{e.id}"}
many: {for_each: {in: "{one.l}", batch: 4, match: k, many: true}, get: "b:/?i={item}", hidden: true}
race: {race: [{get: "a:/r", select: x}, "b:/r"], fallback: null, when: "one.on", select: "[0]"}
"""


def test_a_plan_holds_what_was_declared() -> None:
    compiled = plan(WHOLE, path="/d/{id}", parameters="{id: {type: integer}}", deadline="3s")
    assert (compiled.name, compiled.path, compiled.deadline) == ("d", "/d/{id}", 3)
    one, each, many, race = compiled.sections
    assert [section.index for section in compiled.sections] == [0, 1, 2, 3]
    assert (one.required, one.hidden, one.has_fallback, one.for_each) == (True, False, False, None)
    assert one.cache is not None
    assert one.cache.ttl == 60
    assert each.for_each is not None
    assert (each.for_each.element, each.for_each.limit, each.for_each.concurrency) == ("e", 7, 3)
    assert each.for_each.key is not None
    assert each.for_each.key({"id": 5}) == 5
    assert (each.for_each.batch, each.for_each.items.text) == (None, "one.l")
    assert many.for_each is not None
    assert (many.hidden, many.for_each.batch, many.for_each.many) == (True, 4, True)
    assert many.for_each.key is None
    assert many.for_each.match({"k": 2}) == 2
    assert [source.upstream for source in race.sources] == ["a", "b"]
    assert race.sources[0].select is not None
    assert race.sources[0].select({"x": 1}) == 1
    assert race.sources[1].select is None
    assert race.select is not None
    assert race.select([4, 5]) == 4
    assert race.when is not None
    assert race.when({"one": {"on": True}}) is True


def test_a_fallback_of_null_is_a_fallback() -> None:
    race = plan(WHOLE, path="/d/{id}", parameters="{id: {type: integer}}").sections[3]
    assert race.has_fallback
    assert race.fallback is None


def test_a_plan_is_shared_by_all_requests_and_changes_for_none() -> None:
    compiled = plan('x: {get: "a:/"}')
    with pytest.raises(FrozenInstanceError):
        compiled.deadline = 1  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        compiled.sections[0].required = True  # type: ignore[misc]
