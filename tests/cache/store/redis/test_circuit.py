from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cache.store.base import StoreChange
from gateway.cache.store.redis.circuit import Circuit
from gateway.events import Event, Events
from tests.layers.test_cache import on_virtual_time
from tests.virtual_time import loop_time

if TYPE_CHECKING:
    from collections.abc import Callable


class Server:
    def __init__(self) -> None:
        self.alive = True
        self.silent = False
        self.probes: list[float] = []

    async def probe(self) -> None:
        self.probes.append(loop_time())
        if self.silent:
            await asyncio.sleep(100)
        if not self.alive:
            raise ConnectionRefusedError


def circuit(server: Server, random: Callable[[], float] = lambda: 1.0) -> tuple[Circuit, Any]:
    heard: list[Event] = []
    return (
        Circuit(server.probe, events=Events([heard.append]), sleep=asyncio.sleep, random=random),
        heard,
    )


def is_up(own: Circuit) -> bool:
    return own.up


@on_virtual_time
async def test_one_error_is_enough_and_one_sign_of_life() -> None:
    server = Server()
    own, heard = circuit(server)
    assert not is_up(own)
    await own.open()
    assert is_up(own)
    server.alive = False
    own.trip(TimeoutError())
    own.trip(TimeoutError())
    assert not is_up(own)
    await asyncio.sleep(10)
    assert not is_up(own)
    server.alive = True
    await asyncio.sleep(1.1)
    assert is_up(own)
    assert heard == [
        StoreChange("", "", up=True),
        StoreChange("", "", up=False, why="TimeoutError"),
        StoreChange("", "", up=True),
    ]
    await own.aclose()


@on_virtual_time
async def test_a_loss_is_logged_as_a_warning_and_the_way_back_at_info(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    own, _ = circuit(server)
    await own.open()
    server.alive = False
    with caplog.at_level("INFO", "gateway.store"):
        own.trip(TimeoutError())
        server.alive = True
        await asyncio.sleep(1)
    told = [(r.levelname, r.getMessage(), r.__dict__["state"]) for r in caplog.records]
    assert told == [
        (
            "WARNING",
            "the connection to the shared store is lost (TimeoutError); continuing without it",
            "down",
        ),
        ("INFO", "the shared store is reachable", "up"),
    ]
    await own.aclose()


@on_virtual_time
async def test_probes_grow_rarer_to_one_a_second() -> None:
    server = Server()
    own, _ = circuit(server)
    server.alive = False
    await own.open()
    await asyncio.sleep(5)
    pauses = [b - a for a, b in zip(server.probes, server.probes[1:], strict=False)]
    assert pauses[:6] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0])
    assert max(pauses) == pytest.approx(1.0)
    await own.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@on_virtual_time
async def test_the_probes_of_many_replicas_are_spread() -> None:
    server = Server()
    own, _ = circuit(server, lambda: 0.0)
    server.alive = False
    await own.open()
    await asyncio.sleep(5)
    assert server.probes[1] - server.probes[0] == pytest.approx(0.025)
    await own.aclose()


@on_virtual_time
async def test_a_silent_server_delays_the_start_by_a_second_at_most() -> None:
    server = Server()
    server.silent = True
    own, heard = circuit(server)
    await own.open()
    assert loop_time() == pytest.approx(1001)
    assert (own.up, heard) == (False, [])
    server.silent = False
    await asyncio.sleep(2)
    assert own.up
    await own.aclose()
    await own.aclose()
    assert not own.up


@on_virtual_time
async def test_it_works_without_listeners_and_may_be_closed_unopened() -> None:
    own = Circuit(Server().probe, events=Events(), sleep=asyncio.sleep, random=lambda: 0.0)
    await own.aclose()
    await own.open()
    own.trip(TimeoutError())
    await own.aclose()
