"""The metrics of all workers: each posts what it counted, and a scrape of one reads them all.

The board is shared memory that the workers inherit. What a worker had posted before it died stays,
and the worker that replaces it goes on from there, so counters never fall.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from prometheus_client.metrics_core import Metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.registry import Collector

__all__ = ["Board", "Place"]

_log = logging.getLogger("gateway.telemetry")

_HEAD = struct.Struct("=QQQ")  # number of posts, and the length of each half
_HALF = 8 * 1024 * 1024  # the system takes only the pages that are written
_EVERY = 1.0
_SHARE = 50  # a post takes at most this part of the time between two posts
_OLD = 10.0  # seconds after which a worker that posts nothing is taken to be gone
_CUMULATIVE = {"counter", "histogram"}
_ONE_OF: dict[str, Callable[[float, float], float]] = {
    "gateway_breaker_state": max,
    "gateway_build_info": max,
    "gateway_config_info": max,
    "gateway_event_loop_lag_seconds": max,
    "gateway_store_up": min,
    "process_start_time_seconds": min,
}
"""How values of several workers become one, where that is not their sum."""


class _Samples(NamedTuple):
    """One metric; the samples by name and labels."""

    kind: str
    about: str
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float]


_Snapshot = dict[str, _Samples]


class Board:
    """Shared memory with a place for each worker; made before the workers are forked.

    A place has two halves that are written in turn, so a reader never waits for a writer, and a
    worker that dies while it writes leaves the other half as it was.

    Args:
        places: number of workers.
    """

    def __init__(self, places: int) -> None:
        self._maps = [mmap.mmap(-1, _HEAD.size + 2 * _HALF) for _ in range(places)]

    def __len__(self) -> int:
        return len(self._maps)

    def post(self, place: int, content: bytes) -> bool:
        """Replace what is posted at a place; return false if it is too long."""
        if len(content) > _HALF:
            return False
        shared = self._maps[place]
        posts, *lengths = _HEAD.unpack_from(shared)
        half = (posts + 1) % 2
        start = _HEAD.size + half * _HALF
        shared[start : start + len(content)] = content
        lengths[half] = len(content)
        _HEAD.pack_into(shared, 0, posts, *lengths)
        _HEAD.pack_into(shared, 0, posts + 1, *lengths)
        return True

    def read(self, place: int) -> bytes:
        """Return what is posted at a place; empty if nothing is."""
        shared = self._maps[place]
        while True:
            posts, *lengths = _HEAD.unpack_from(shared)
            start = _HEAD.size + posts % 2 * _HALF
            content = shared[start : start + lengths[posts % 2]]
            if posts == _HEAD.unpack_from(shared)[0]:
                return content


class Place:
    """The place of one worker on the board.

    Args:
        board: the board.
        number: the number of the place, from 0.
        now: POSIX seconds.
    """

    def __init__(self, board: Board, number: int, *, now: Callable[[], float] = time.time) -> None:
        self._board = board
        self._number = number
        self._now = now
        self._before = _cumulative(_parse(board.read(number))[1])
        self._timer: asyncio.TimerHandle | None = None

    def start(self, collector: Collector) -> None:
        """Post again and again what `collector` yields."""
        began = time.perf_counter()
        self.post(collector)
        took = time.perf_counter() - began
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(_EVERY, _SHARE * took), self.start, collector)

    def stop(self, collector: Collector) -> None:
        """Post for the last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.post(collector)

    def post(self, collector: Collector) -> None:
        """Post what `collector` yields now."""
        snapshot = _merged([self._before, _taken(collector.collect())])
        content = orjson.dumps(
            [
                self._now(),
                [
                    [
                        name,
                        one.kind,
                        one.about,
                        [[*key, value] for key, value in one.values.items()],
                    ]
                    for name, one in snapshot.items()
                ],
            ]
        )
        if not self._board.post(self._number, content):
            _log.error("the metrics of a worker take %d bytes and are not shared", len(content))

    def collect(self, collector: Collector) -> Iterator[Metric]:
        """Yield the metrics of all workers; those of this one are what `collector` yields now."""
        snapshots = [self._before, _taken(collector.collect())]
        for number in range(len(self._board)):
            if number != self._number:
                posted, snapshot = _parse(self._board.read(number))
                gone = self._now() - posted > _OLD
                snapshots.append(_cumulative(snapshot) if gone else snapshot)
        for name, (kind, about, values) in _merged(snapshots).items():
            metric = Metric(name, about, kind)
            for (sample, labels), value in values.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric


def _taken(metrics: Iterable[Metric]) -> _Snapshot:
    found: _Snapshot = {}
    for metric in metrics:
        values = {
            (sample.name, tuple(sample.labels.items())): sample.value for sample in metric.samples
        }
        found[metric.name] = _Samples(metric.type, metric.documentation, values)
    return found


def _parse(content: bytes) -> tuple[float, _Snapshot]:
    """Return when something was posted, and what."""
    if not content:
        return 0.0, {}
    posted, metrics = orjson.loads(content)
    found: _Snapshot = {}
    for name, kind, about, samples in metrics:
        values: dict[Any, float] = {
            (sample, tuple((label, text) for label, text in labels)): value
            for sample, labels, value in samples
        }
        found[name] = _Samples(kind, about, values)
    return posted, found


def _cumulative(snapshot: _Snapshot) -> _Snapshot:
    """Return what a process that is gone still counts for."""
    return {name: one for name, one in snapshot.items() if one.kind in _CUMULATIVE}


def _merged(snapshots: Iterable[_Snapshot]) -> _Snapshot:
    total: _Snapshot = {}
    for snapshot in snapshots:
        for name, one in snapshot.items():
            into = total.setdefault(name, _Samples(one.kind, one.about, {})).values
            join = _ONE_OF.get(name)
            for key, value in one.values.items():
                before = into.get(key)
                if before is None:
                    into[key] = value
                else:
                    into[key] = join(before, value) if join is not None else before + value
    return total
