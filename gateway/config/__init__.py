"""The configuration: its models, its loader, the settings of the process."""

from gateway.config.loader import Loaded, compile_config, load, loads, shipped
from gateway.config.models import Config
from gateway.config.settings import Settings

__all__ = ["Config", "Loaded", "Settings", "compile_config", "load", "loads", "shipped"]
