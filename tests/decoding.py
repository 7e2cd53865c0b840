"""Reads what answers are compressed with."""

from __future__ import annotations

import gzip
import sys

import brotli  # type: ignore[import-untyped] # it has no stubs

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def decoded(coding: str, body: bytes) -> bytes:
    """Return a body without its content coding."""
    read = {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": zstd.decompress}
    return bytes(read[coding](body)) if coding else body
