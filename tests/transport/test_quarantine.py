"""When connections are not reused, for how long, and what the log says."""

from __future__ import annotations

import logging

import pytest

from gateway.transport.quarantine import Quarantine, answers_nothing


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_no_quarantine_before_surplus_bytes_and_none_after_its_time() -> None:
    clock = Clock()
    quarantine = Quarantine("http://a", seconds=60, clock=clock)
    seen = [quarantine.active]
    quarantine.report()
    for seconds in (0, 59.9, 0.2):
        clock.now += seconds
        seen.append(quarantine.active)
    assert seen == [False, True, True, False]


def test_each_quarantine_lasts_twice_as_long_up_to_an_hour_and_a_clean_hour_starts_over() -> None:
    clock = Clock()
    quarantine = Quarantine("http://a", seconds=60, clock=clock)
    lengths = []
    for _ in range(9):
        quarantine.report()
        lengths.append(quarantine.until - clock.now)
        clock.now = quarantine.until
    assert lengths == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    clock.now += 3601
    quarantine.report()
    assert quarantine.until - clock.now == 60


def test_surplus_within_a_quarantine_neither_prolongs_nor_logs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    quarantine = Quarantine("http://a", seconds=60, clock=clock)
    with caplog.at_level(logging.WARNING, "gateway.transport"):
        for _ in range(1000):
            quarantine.report()
            clock.now += 0.01
        assert quarantine.until == 1060
        clock.now = 1060
        quarantine.report()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    first, second = [record.getMessage() for record in caplog.records]
    assert "http://a sent bytes that answer no request (1 times so far)" in first
    assert "not reused for 60 s" in first
    assert "(1001 times so far)" in second
    assert "not reused for 120 s" in second


def test_no_length_turns_quarantines_off(caplog: pytest.LogCaptureFixture) -> None:
    quarantine = Quarantine("http://a", seconds=0, clock=Clock())
    quarantine.report()
    assert not quarantine.active
    assert quarantine.offences == 1
    assert not caplog.records


@pytest.mark.parametrize(
    ("data", "surplus"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"x", True),
        (b"\r\n", False),
        (b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n", False),
    ],
)
def test_line_breaks_and_a_goodbye_are_no_surplus(data: bytes, surplus: bool) -> None:
    assert answers_nothing(data) is surplus
