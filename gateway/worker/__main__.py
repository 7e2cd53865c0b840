"""`python -m gateway.worker`: reads jobs from standard input, writes replies to standard output.

::

    length of the head uint32 · length of the payload uint64 · head (JSON) · payload

It is independent of upstreams, stores only compiled expressions and schemas, and exits at the end
of its input.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import signal
import struct
import sys
import traceback
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from gateway.errors import ExpressionFailed
from gateway.worker import jobs
from gateway.worker.allocator import return_large_blocks

__all__ = ["FRAME", "main"]

FRAME = struct.Struct(">IQ")
_POLITE = 2


def main() -> None:
    """Serve until the input ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            # The gateway ends the worker: it drains first and closes the input at the end.
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_POLITE)
    with contextlib.suppress(OSError):
        # When memory runs out, the kernel should kill this process first.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    return_large_blocks()
    # JSON has no cycles, and a collection over millions of values is slow.
    gc.disable()
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # accidental prints cannot corrupt a reply
    serve(sys.stdin.buffer, replies)


def serve(orders: BinaryIO, replies: BinaryIO) -> None:
    """Run one job after the other."""
    while len(frame := orders.read(FRAME.size)) == FRAME.size:
        head_size, size = FRAME.unpack(frame)
        head = orjson.loads(orders.read(head_size))
        body = orders.read(size)
        if len(body) < size:
            return
        said, parts = _answer(head, body)
        del body
        said["parts"] = [len(part) for part in parts]
        said["memory"] = _memory()
        written = orjson.dumps(said)
        total = sum(map(len, parts))
        for piece in (FRAME.pack(len(written), total) + written, *parts):
            _write(replies, piece)
        del parts


def _answer(head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    try:
        return jobs.run(head, body)
    except jobs.RefusedError as refused:
        return {"refused": str(refused)}, []
    except ExpressionFailed as failed:
        return {"failed": failed.detail}, []
    except Exception:
        return {"bug": traceback.format_exc()}, []


def _memory() -> int:
    """Return the resident memory of this process in bytes, 0 if the system does not report it."""
    try:
        resident = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(resident) * mmap.PAGESIZE


def _write(replies: BinaryIO, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[replies.write(view) :]


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
