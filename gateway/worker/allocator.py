"""Sets how a process of the gateway returns memory to the system."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["return_large_blocks"]

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE = 256 * 1024


def return_large_blocks() -> bool:
    """Return large blocks to the system as soon as they are freed; return whether that is set.

    glibc maps large blocks one by one, but its threshold rises to the size of the largest block
    that was ever freed, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD). After the first content of a
    megabyte, all others lie between small blocks in the heap, and stay resident once they are
    freed: 200 clients that do not read their answers took 175 MiB for good. A fixed threshold
    costs a page fault for each 4 KiB of a large content, 1 % of the time to decode it.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, _LARGE))
