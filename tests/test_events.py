from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.events import Event, Events, Hedge, Retry

if TYPE_CHECKING:
    import pytest


def test_no_kind_is_wanted_until_a_listener_comes() -> None:
    events = Events()
    assert not events.wants(Hedge)
    events.listen(lambda event: None)
    assert events.wants(Hedge)
    assert events.wants(Retry)


def test_a_listener_hears_the_kinds_that_it_asked_for_and_no_others() -> None:
    hedges: list[Event] = []
    everything: list[Event] = []
    events = Events()
    events.listen(hedges.append, Hedge)
    assert events.wants(Hedge)
    assert not events.wants(Retry)
    hedge, other = Hedge("weather", "section", 0.1), Event("weather", "section")
    events.emit(hedge)
    events.emit(other)
    events.listen(everything.append)
    events.emit(other)
    assert hedges == [hedge]
    assert everything == [other]


def test_a_listener_that_wants_nothing_just_now_costs_no_event() -> None:
    heard: list[Event] = []
    awake = False
    events = Events()
    events.listen(heard.append, Hedge, when=lambda: awake)
    hedge = Hedge("weather", "section", 0.1)
    assert not events.wants(Hedge)
    events.emit(hedge)  # for another listener
    awake = True
    assert events.wants(Hedge)
    events.emit(hedge)
    assert heard == [hedge]


def test_a_listener_that_raises_does_not_affect_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise ZeroDivisionError

    events = Events([broken, heard.append])
    with caplog.at_level(logging.ERROR, "gateway.events"):
        events.emit(Event("weather", "section"))
    assert heard == [Event("weather", "section")]
    assert "an event listener raised" in caplog.text
