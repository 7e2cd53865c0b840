from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pathlib import Path
from gateway.worker.allocator import return_large_blocks

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

if not return_large_blocks():
    sys.exit(7)
large = bytes(1024 * 1024)
del large  # glibc would now take blocks of this size from its heap
before = resident()
large = [[b"x" * 1024 * 1024, b"y" * 4096] for _ in range(100)]
small = [two.pop() for two in large]
assert resident() - before > 90e6
del large
assert resident() - before < 10e6, resident() - before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_large_blocks_go_back_to_the_system_from_between_small_ones() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=False, timeout=60)
    if done.returncode == 7:
        pytest.skip("another C library")
    assert done.returncode == 0


def test_other_systems_have_nothing_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.worker.allocator import return_large_blocks

    monkeypatch.setattr(sys, "platform", "darwin")
    assert not return_large_blocks()
