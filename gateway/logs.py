"""Logs: one line for each record, as text or as JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

__all__ = ["JsonFormatter", "log_config"]


class JsonFormatter(logging.Formatter):
    """Writes `time`, `level`, `logger`, `message` and, where there is one, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def log_config(level: str, form: str) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`; everything goes to stderr."""
    text = {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    handled = {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"it": {"()": "gateway.logs.JsonFormatter"} if form == "json" else text},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "it",
                "stream": "ext://sys.stderr",
            }
        },
        "loggers": {"uvicorn": handled, "gateway": handled},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
    }
