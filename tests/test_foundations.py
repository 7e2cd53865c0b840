"""The ground floor: errors, outcomes, the call seam, units, shaping."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateway import errors
from gateway.call import Call, Deadline, Layer, Request, Response, stack
from gateway.engine.outcome import Outcome, State
from gateway.errors import CallError, ConfigError, ErrorCode, Failed, Finding, Rejected
from gateway.expressions.jmes import is_true, search, shape
from gateway.values.units import WRITTEN, Duration, Positive, Size, format_duration, parse_duration


def leaves() -> list[type[CallError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, CallError) and hasattr(value, "code")
    ]


def test_every_code_has_one_error_and_every_error_one_code() -> None:
    assert sorted(leaf.code for leaf in leaves()) == sorted(ErrorCode)


def test_an_error_is_rejected_or_failed_and_never_both() -> None:
    for leaf in leaves():
        assert not (issubclass(leaf, Rejected) and issubclass(leaf, Failed))
    assert not issubclass(errors.DependencyFailed, (Rejected, Failed))
    assert not issubclass(errors.ExpressionFailed, (Rejected, Failed))


def test_an_error_says_whose_and_whether_again() -> None:
    error = errors.UpstreamStatus("x", upstream="u", status=503, retryable=True, retry_after=2.0)
    assert (error.upstream, error.status, error.retryable, error.retry_after) == ("u", 503, True, 2)
    assert errors.UpstreamTimeout("x").retryable
    assert not errors.UpstreamPayload("x").retryable


def test_a_config_error_is_lines() -> None:
    error = ConfigError([Finding("a", line=1, column=2), Finding("b", line=3, column=4)], "f.yaml")
    assert error.lines() == ["f.yaml:1:2: a", "f.yaml:3:4: b"]
    assert str(error) == "f.yaml:1:2: a\nf.yaml:3:4: b"


def test_outcomes_say_whether_they_can_be_referred_to() -> None:
    assert {state for state in State if Outcome(state).usable} == {
        State.OK, State.STALE, State.FALLBACK,
    }  # fmt: skip
    assert repr(Outcome(State.OK, 1, 2)) == "Outcome(ok, 2)"


def test_a_stack_is_put_together_outermost_first_and_what_is_off_is_left_out() -> None:
    seen: list[str] = []

    def layer(name: str) -> Layer:
        def around(call: Call) -> Call:
            async def called(request: Request) -> Response:
                seen.append(name)
                return await call(request)

            return called

        return around

    async def end(request: Request) -> Response:
        seen.append("end")
        return Response(request.target)

    call = stack(end, layer("a"), None, layer("b"))

    async def main() -> Response:
        return await call(Request("/x", Deadline(1)))

    assert asyncio.run(main()).value == "/x"
    assert seen == ["a", "b", "end"]
    assert stack(end, None, None) is end


def test_requests_and_responses_can_be_had_again() -> None:
    request = Request("/x", Deadline(5), "s", method="HEAD", headers=[(b"a", b"b")], cache=1,
                      tags=("t",), body=b"c")  # fmt: skip
    again = request.again(3)
    assert again.attempt == 3
    for name in ("target", "deadline", "section", "method", "headers", "cache", "tags", "body"):
        assert getattr(again, name) is getattr(request, name)
    response = Response(1, body=b"1", as_of=2.0, fresh_until=3.0, stale=True, cache="hit")
    marked = response.marked("stale")
    assert (marked.cache, marked.value, marked.as_of, marked.stale) == ("stale", 1, 2.0, True)
    assert Deadline(5).remaining(3) == 2
    assert repr(request) == "Request(HEAD /x for 's')"
    assert repr(response) == "Response(200, 1 bytes)"
    assert repr(Deadline(5)) == "Deadline(at=5)"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("1.5 m", 90), ("1h", 3600), ("7d", 604800), (" 0s ", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1 week", "٣s", "1e3s", "1s2"])
def test_texts_that_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="write a duration with its unit"):
        parse_duration(text)


class Units(BaseModel):
    duration: Duration = 0
    positive: Positive = 1
    size: Size = Size(1)


def test_in_a_file_a_number_is_no_duration_and_in_code_it_is() -> None:
    assert Units(duration=5, positive=0.5).duration == 5
    assert Units.model_validate({"duration": 0}, context=WRITTEN).duration == 0
    for wrong in ({"duration": 5}, {"duration": True}, {"duration": None}, {"positive": "0s"},
                  {"duration": "999999d"}, {"size": 0}, {"size": "1 lot"}):  # fmt: skip
        with pytest.raises(ValidationError):
            Units.model_validate(wrong, context=WRITTEN)
    assert Units.model_validate({"size": "64KiB"}).size == 65536


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "250 ms"), (3, "3 s"), (1.5, "1.5 s"), (600, "10 min")]
)
def test_durations_for_a_human(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "true"),
    [(None, False), (False, False), ("", False), ([], False), ({}, False), (0, True), (0.0, True),
     (True, True), ("a", True), ([0], True), ({"a": None}, True)],
)  # fmt: skip
def test_truth_is_that_of_jmespath(value: Any, *, true: bool) -> None:
    assert is_true(value) is true


def test_what_an_expression_cannot_take_is_an_expression_failed() -> None:
    def recursion(_: Any) -> Any:
        raise RecursionError

    with pytest.raises(errors.ExpressionFailed, match=r"^`when` failed: .*RecursionError"):
        search(recursion, 1, "when")
    with pytest.raises(errors.ExpressionFailed, match="^`select` failed: ") as caught:
        shape(recursion, 1, "up")
    assert caught.value.upstream == "up"
