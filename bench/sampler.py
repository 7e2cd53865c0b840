"""Run the gateway while a thread notes what the main thread is at; writes collapsed stacks.

    python bench/sampler.py OUTPUT run --config ... (the arguments of `gateway`)

It sees Python frames only, and the interpreter hands over between two of its instructions: time in
C is charged to the frame that called it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_PAUSE = 0.002


def stack(frame: FrameType | None) -> str:
    frames = []
    while frame is not None:
        code = frame.f_code
        frames.append(f"{code.co_name} ({code.co_filename}:{frame.f_lineno})")
        frame = frame.f_back
    return ";".join(reversed(frames))


def sample(main: int, found: Counter[str], ended: threading.Event) -> None:
    while not ended.wait(_PAUSE):
        frame = sys._current_frames().get(main)  # noqa: SLF001 - there is no public way
        if frame is not None:
            found[stack(frame)] += 1


def run() -> None:
    from gateway.cli import main  # noqa: PLC0415 - after the arguments are read

    main()


if __name__ == "__main__":
    output = Path(sys.argv[1])
    sys.argv = ["gateway", *sys.argv[2:]]
    sys.path[0] = str(Path(__file__).parent.parent)
    found: Counter[str] = Counter()
    ended = threading.Event()
    sys.setswitchinterval(0.0005)
    thread = threading.Thread(
        target=sample, args=(threading.get_ident(), found, ended), daemon=True
    )
    thread.start()
    began = time.perf_counter()
    try:
        run()
    finally:
        ended.set()
        thread.join()
        output.write_text("".join(f"{key} {count}\n" for key, count in found.items()))
        print(f"sampled {time.perf_counter() - began:.0f} s", file=sys.stderr)
