"""The configuration: its models, its loader, the settings of the process."""

from gateway.config.models import Config
from gateway.config.settings import Settings
from gateway.plan.load import Loaded, compile_config, load, loads, shipped

__all__ = ["Config", "Loaded", "Settings", "compile_config", "load", "loads", "shipped"]
