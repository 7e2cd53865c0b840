from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

from gateway.telemetry.board import Board, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_000_000.0


class Worker:
    """A worker with a few metrics."""

    def __init__(self, board: Board, number: int, now: float = NOW) -> None:
        self.now = now
        self.place = Place(board, number, now=lambda: self.now)
        self.registry = CollectorRegistry()
        self.calls = Counter("calls", "Calls", ["to"], registry=self.registry)
        self.in_flight = Gauge("in_flight", "In flight", registry=self.registry)
        self.up = Gauge("gateway_store_up", "Up", registry=self.registry)
        self.lag = Gauge("gateway_event_loop_lag_seconds", "Lag", registry=self.registry)
        self.took = Histogram("took", "Took", buckets=(1, 2), registry=self.registry)

    def post(self) -> None:
        self.place.post(self.registry)

    def read(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for metric in self.place.collect(self.registry):
            for sample in metric.samples:
                labels = ",".join(sample.labels.values())
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found


def test_one_worker_tells_of_all() -> None:
    board = Board(2)
    one, other = Worker(board, 0), Worker(board, 1)
    one.calls.labels("a").inc(2)
    other.calls.labels("a").inc(3)
    other.calls.labels("b").inc()
    one.in_flight.set(4)
    other.in_flight.set(5)
    one.took.observe(0.5)
    other.took.observe(1.5)
    other.post()
    read = one.read()
    assert (read["calls_total{a}"], read["calls_total{b}"], read["in_flight"]) == (5, 1, 9)
    assert (read["took_count"], read["took_sum"]) == (2, 2)
    assert (read["took_bucket{1.0}"], read["took_bucket{2.0}"], read["took_bucket{+Inf}"]) == (1, 2, 2)  # fmt: skip


def test_what_is_not_a_sum_is_not_added() -> None:
    board = Board(2)
    one, other = Worker(board, 0), Worker(board, 1)
    one.up.set(1)
    other.up.set(0)
    one.lag.set(0.1)
    other.lag.set(0.3)
    other.post()
    read = one.read()
    assert (read["gateway_store_up"], read["gateway_event_loop_lag_seconds"]) == (0, 0.3)


def test_what_a_worker_counted_survives_it() -> None:
    board = Board(2)
    one, other = Worker(board, 0), Worker(board, 1)
    other.calls.labels("a").inc(3)
    other.in_flight.set(5)
    other.post()
    again = Worker(board, 1)  # it replaces the one that died
    again.calls.labels("a").inc(4)
    again.post()
    read = one.read()
    assert (read["calls_total{a}"], read["in_flight"]) == (7, 0)
    assert again.read()["calls_total{a}"] == 7
    again.post()  # what came before is counted once, however often it posts
    assert one.read()["calls_total{a}"] == 7


def test_a_worker_that_is_gone_has_nothing_in_flight() -> None:
    board = Board(2)
    one, other = Worker(board, 0), Worker(board, 1)
    other.in_flight.set(5)
    other.calls.labels("a").inc(3)
    other.post()
    one.now += 11
    read = one.read()
    assert (read["in_flight"], read["calls_total{a}"]) == (0, 3)


def test_processes_that_are_forked_share_a_board() -> None:
    board = Board(1)
    child = os.fork()
    if child == 0:
        board.post(0, b"from the child")
        os._exit(0)
    os.waitpid(child, 0)
    assert board.read(0) == b"from the child"


@given(st.lists(st.binary(max_size=50), max_size=8))
def test_the_last_post_is_what_is_read(posts: list[bytes]) -> None:
    board = Board(1)
    for post in posts:
        assert board.post(0, post)
        assert board.read(0) == post


def test_a_writer_that_dies_in_the_middle_leaves_the_last_post() -> None:
    board = Board(1)
    board.post(0, b"older")
    board.post(0, b"whole again")

    memory = board._maps[0]
    start = memory[:].index(b"older")
    memory[start : start + 5] = b"WRITE"  # the half that is written next
    assert board.read(0) == b"whole again"


def test_too_much_is_not_posted_and_said(caplog: Any) -> None:
    class Much(Collector):
        def collect(self) -> Iterator[Any]:
            gauge = Gauge("much", "x" * 9_000_000, registry=None)
            yield from gauge.collect()

    board = Board(1)
    Place(board, 0).post(Much())
    assert board.read(0) == b""
    assert "are not shared" in caplog.text


def test_the_text_of_all_workers_is_valid() -> None:
    board = Board(1)
    one = Worker(board, 0)
    one.calls.labels('a "quoted" name').inc()

    class All(Collector):
        def collect(self) -> Iterator[Any]:
            return one.place.collect(one.registry)

    registry = CollectorRegistry()
    registry.register(All())
    assert b'calls_total{to="a \\"quoted\\" name"} 1.0' in generate_latest(registry)
