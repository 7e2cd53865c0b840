"""The protocol over its pipes; what the jobs do is tested beside them."""

from __future__ import annotations

import signal
import subprocess
import sys
from io import BytesIO
from typing import Any

import orjson

from gateway.worker.__main__ import FRAME, serve


def order(head: dict[str, Any], body: bytes) -> bytes:
    written = orjson.dumps(head)
    return FRAME.pack(len(written), len(body)) + written + body


def replies(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    found = []
    while data:
        head, size = FRAME.unpack_from(data)
        start = FRAME.size
        found.append(
            (orjson.loads(data[start : start + head]), data[start + head : start + head + size])
        )
        data = data[start + head + size :]
    return found


def test_each_order_has_its_reply_and_the_end_of_the_input_ends_it() -> None:
    orders = (
        order({"job": "split"}, b"[1]")
        + order({"job": "split"}, b"{}")
        + order({"job": "judge", "expression": "length(a)"}, b'{"a":1}')
        + order({"job": "nope"}, b"")
        + order({"job": "split"}, b"[2]")[:-1]
    )
    out = BytesIO()
    serve(BytesIO(orders), out)
    (good, payload), (refused, _), (failed, _), (bug, _) = replies(out.getvalue())
    assert (good["parts"], payload) == ([3], b"[1]")
    assert good["memory"] > 0
    assert refused["refused"] == "the answer to a batched call must be a list"
    assert failed["failed"].startswith("`when` failed: length() takes")
    assert refused["parts"] == failed["parts"] == []
    assert "KeyError" in bug["bug"]


def test_signals_are_for_the_gateway_to_heed() -> None:
    """Of a whole process group the worker is the last to go: the gateway drains first."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(2):  # the first reply says that it is set up
            process.stdin.write(order({"job": "split"}, b"[%d]" % number))
            process.stdin.flush()
            head, size = FRAME.unpack(process.stdout.read(FRAME.size))
            assert process.stdout.read(head + size).endswith(b"[%d]" % number)
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
        process.stdin.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()
