from __future__ import annotations

from typing import Any

import pytest

from gateway.call import Call, Deadline, Layer, Request, Response, stack
from gateway.upstreams.http.operation import HttpOperation
from gateway.values.provenance import Provenance
from gateway.values.restrictions import Restriction
from tests.operations import target_of


def layer(name: str, seen: list[str]) -> Layer:
    def around(call: Call) -> Call:
        async def called(request: Request) -> Response:
            seen.append(f"{name} in")
            response = await call(request)
            seen.append(f"{name} out")
            return response

        return called

    return around


async def answer(request: Request) -> Response:
    return Response(target_of(request))


async def test_layers_are_passed_outermost_first_and_left_in_turn() -> None:
    seen: list[str] = []
    call = stack(answer, layer("a", seen), None, layer("b", seen))
    assert (await call(Request(HttpOperation("/x"), Deadline(0)))).value == "/x"
    assert seen == ["a in", "b in", "b out", "a out"]


@pytest.mark.parametrize("layers", [(), (None,), (None, None)])
def test_what_is_off_costs_nothing(layers: tuple[Any, ...]) -> None:
    assert stack(answer, *layers) is answer


def fields(thing: object) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in type(thing).__slots__}  # type: ignore[attr-defined]


def test_another_attempt_is_the_same_request() -> None:
    operation = HttpOperation("/x", "HEAD", [(b"a", b"b")], [(b"d", b"e")])
    request = Request(operation, Deadline(5), "s", cache=1, tags=("t",), min_fresh=1.0)
    request.key = "k"
    assert (request.identity, request.safe) == (operation.identity, True)
    assert fields(request.again(3)) == {**fields(request), "attempt": 3}
    assert all(value for value in fields(request).values())  # none was left at a default


def test_a_mark_changes_nothing_else() -> None:
    provenance = Provenance(
        as_of=2.0, stale=True, fresh_until=3.0, reason=ValueError(), cache="hit",
        restrictions=Restriction.PRIVATE,
    )  # fmt: skip
    response = Response([1], status=203, headers=[(b"a", b"b")], body=b"[1]", provenance=provenance)
    marked = provenance.but(cache="stale")
    assert fields(response.marked("stale")) == {**fields(response), "provenance": marked}
    assert response.marked("stale").value is response.value  # shared, never copied
    assert all(value for value in fields(response).values())
    assert all(value for value in fields(provenance).values())


def test_a_deadline_is_a_moment() -> None:
    assert Deadline(5).remaining(3) == 2
    assert Deadline(5).remaining(7) == -2


def test_they_can_be_told_apart_in_a_log() -> None:
    assert repr(Deadline(5)) == "Deadline(at=5)"
    assert repr(Request(HttpOperation("/x"), Deadline(5), "s")) == "Request(GET /x for 's')"
    assert repr(Response(1, body=b"1")) == "Response(200, 1 bytes)"


@pytest.mark.parametrize(
    "thing",
    [Deadline(5), Request(HttpOperation("/x"), Deadline(5)), Response(1)],
    ids=lambda t: type(t).__name__,
)
def test_the_hot_path_allocates_no_dictionaries(thing: object) -> None:
    assert not hasattr(thing, "__dict__")
