"""What the tests of the transport share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.transport import Bounds, Http1Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BOUNDS = Bounds(max_body=100_000, max_inflated=300_000, max_header_bytes=8_192, max_headers=50)


@pytest.fixture
async def transport() -> AsyncIterator[Http1Transport]:
    """A transport with small bounds, closed in the end."""
    transport = Http1Transport(bounds=BOUNDS)
    yield transport
    await transport.aclose()
    for pool in transport.pools:
        assert pool.slots == 0
        assert pool.waiting == 0
