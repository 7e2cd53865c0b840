"""What holds for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from gateway.commands.serving import tune_collector

# hypothesis fails an example that takes over 200 ms, and a strategy that is slow to draw from. Both
# are judgements of the machine.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


def pytest_collection_finish() -> None:
    """Collect garbage as `gateway run` does: seldom, and never over the thousands of tests."""
    tune_collector()
