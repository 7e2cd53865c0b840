"""What holds for all tests."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

# hypothesis fails an example that takes over 200 ms, and a strategy that is slow to draw from. Both
# are judgements of the machine.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


def pytest_collection_finish() -> None:
    """Collect garbage as `gateway run` does: seldom, and never over the thousands of tests."""
    from gateway.commands.serving import tune_collector  # only the workers of pytest-xdist need it

    tune_collector()


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Run one worker more than there are cores: tests also wait, for sockets and processes."""
    return (yield) + 1


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


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, Any, Any]:
    """Trace what is executed at import in the first worker only: all workers import the same."""
    worker = getattr(session.config, "workerinput", {"workerid": "gw0"})["workerid"]
    plugin: Any = session.config.pluginmanager.getplugin("_cov")
    if plugin is None or worker == "gw0":
        return (yield)
    plugin.cov_controller.pause()
    try:
        return (yield)
    finally:
        plugin.cov_controller.resume()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Do not trace the processes that a test marked `no_cover` starts, either."""
    if item.get_closest_marker("no_cover") is None:
        return (yield)
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        return (yield)
