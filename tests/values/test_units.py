from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from gateway.values.units import WRITTEN, Duration, format_duration, parse_duration


class Model(BaseModel):
    duration: Duration


@pytest.mark.parametrize("value", [False, True, None, [], float("nan"), -1, 1e12, "9" * 400 + "s"])
@pytest.mark.parametrize("context", [WRITTEN, None])
def test_an_invalid_duration_is_refused_in_files_and_in_code(value: Any, context: Any) -> None:
    with pytest.raises(ValidationError):
        Model.model_validate({"duration": value}, context=context)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.0005, "0.5 ms"), (0.9994, "999 ms"), (0.9999, "1 s"), (119.9, "120 s"),
     (120, "2 min"), (3600, "60 min"), (7200, "2 h"), (86400, "24 h"), (604800, "7 d"),
     (366 * 86400, "366 d")],
)  # fmt: skip
def test_durations_read_well_at_every_length(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0.001, 366 * 86400))
def test_a_formatted_duration_matches_its_seconds(seconds: float) -> None:
    text = format_duration(seconds)
    assert "e" not in text
    again = parse_duration(text.replace("min", "m"))
    assert again == pytest.approx(seconds, rel=0.006)
