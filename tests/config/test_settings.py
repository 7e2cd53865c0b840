from __future__ import annotations

import pytest

from gateway.config.settings import Settings
from gateway.errors import ConfigError


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "9999")
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://:s3cret@r:6379/0")
    monkeypatch.setenv("GATEWAY_CACHE_MEMORY", "32MiB")
    settings = Settings.read()
    assert (settings.port, settings.cache_memory) == (9999, 32 * 1024 * 1024)
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:s3cret@r:6379/0"
    assert "s3cret" not in repr(settings)
    assert Settings.read({"port": 1}).port == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [("PORT", "70000"), ("WORKERS", "0"), ("LOG_FORMAT", "xml"), ("CACHE_MEMORY", "s3cret")],
)
def test_a_value_that_cannot_be_is_told_by_its_variable_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"GATEWAY_{variable}", value)
    with pytest.raises(ConfigError) as caught:
        Settings.read()
    assert f"GATEWAY_{variable}: " in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PORT", "ADMIN_TOKEN", "REDIS_URL", "LOG_LEVEL"):
        monkeypatch.setenv(f"GATEWAY_{variable}", "")
    settings = Settings.read()
    assert (settings.port, settings.log_level) == (8000, "info")
    assert (settings.admin_token, settings.redis_url) == (None, None)


def test_levels_are_read_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_LOG_LEVEL", "WARNING")
    assert Settings.read().log_level == "warning"


def test_what_kubernetes_sets_for_a_service_of_that_name_is_no_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "tcp://10.96.0.12:80")
    assert Settings.read().port == 8000
