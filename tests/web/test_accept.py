from __future__ import annotations

import pytest

from gateway.web.accept import ranked

JSON, SSE, LINES, CSV = (
    b"application/json", b"text/event-stream", b"application/jsonl", b"text/csv",
)  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (b"*/*", [JSON]),
        (b"application/json", [JSON]),
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", [JSON]),
        (b"text/html", [JSON]),
        (b"text/*", [JSON]),
        (b"text/event-stream", [SSE]),
        (b"Text/Event-Stream", [SSE]),
        (b"application/jsonl", [LINES]),
        (b"text/event-stream, */*;q=0.1", [SSE, JSON]),
        (b"text/event-stream;q=0.5, application/json", [JSON, SSE]),
        (b"text/event-stream, application/json", [JSON, SSE]),
        (b"text/event-stream ; q=0.5 , application/* ; q=0.4", [SSE, JSON]),
        (b"application/jsonl;q=0.3, text/csv;q=0.4, text/event-stream;q=0.2", [CSV, LINES, SSE]),
        (b"text/event-stream;q=0, */*", [JSON]),
        (b"text/event-stream;q=0", [JSON]),
        (b"application/json;q=0, text/event-stream", [SSE]),
        (b"application/json;q=0, */*, text/event-stream;q=0.1", [SSE]),
        (b"text/event-stream;q=nan", [SSE]),
        (b"text/event-stream;q=x, application/json;q=0.9", [SSE, JSON]),
        (b"text/event-stream;q=-1", [JSON]),
        (b"", [JSON]),
        (b",,;;q=,", [JSON]),
        (b"text/event-stream" + b" " * 2000, [JSON]),
    ],
)
def test_the_best_form_that_is_named_is_chosen(accept: bytes, expected: list[bytes]) -> None:
    assert list(ranked(accept)) == expected
