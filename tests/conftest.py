"""What holds for all tests."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from gateway.commands.serving import tune_collector

# hypothesis fails an example that takes over 200 ms, and a strategy that is slow to draw from. Both
# are judgements of the machine.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


def pytest_collection_finish() -> None:
    """Collect garbage as `gateway run` does: seldom, and never over the thousands of tests."""
    tune_collector()


# Three measurements of coverage start in a worker of pytest-xdist: as a process that `patch =
# subprocess` finds, by pytest-cov as in a single process, and by pytest-cov as in a worker. Only the
# last one counts, and only it is off in a test marked `no_cover`.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """End the first one: it is for the processes that tests start."""
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


def pytest_configure(config: pytest.Config) -> None:
    """End the second one; with `--no-cov`, take pytest-cov out, which fails at the marker then."""
    plugin: Any = config.pluginmanager.getplugin("_cov")
    if plugin is not None and plugin.cov_controller is None:
        config.pluginmanager.unregister(plugin)
    elif plugin is not None and hasattr(config, "workerinput"):
        plugin.cov_controller.cov.stop()
