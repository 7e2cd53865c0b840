from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.events import Event, Events

if TYPE_CHECKING:
    import pytest


def test_false_until_somebody_listens() -> None:
    events = Events()
    assert not events
    events.listen(lambda event: None)
    assert events


def test_every_listener_hears_and_one_that_raises_harms_nobody(
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
