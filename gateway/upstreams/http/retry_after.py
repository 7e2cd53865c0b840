"""The Retry-After field (RFC 9110 section 10.2.3): a number of seconds or a date."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["parse_retry_after"]

_SECONDS = re.compile(r"-?[0-9]+", re.ASCII)
_LONGEST = 86_400.0


def parse_retry_after(value: str | bytes, now: float) -> float | None:
    """Return the seconds to wait, from 0 to a day, or `None` if the field is invalid.

    Args:
        value: the raw value of the field.
        now: POSIX seconds (`time.time()`), for a value that is a date.
    """
    text = (value.decode("latin-1") if isinstance(value, bytes) else value).strip(" \t")
    if _SECONDS.fullmatch(text):
        # Bounded before the conversion: int() refuses thousands of digits.
        seconds = float(int(text)) if len(text) <= 10 else _LONGEST  # noqa: PLR2004
        return min(max(seconds, 0.0), _LONGEST) if not text.startswith("-") else 0.0
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # asctime-date and "-0000" carry no zone: HTTP dates are UTC
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.fromtimestamp(now, UTC)).total_seconds()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return min(max(seconds, 0.0), _LONGEST)
