"""Log formats: one line for each record, as text or as JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

__all__ = ["JsonFormatter", "log_config"]


_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
# uvicorn adds this for its own formatter: the message again, with colors.
_FOREIGN = {"color_message"}


class JsonFormatter(logging.Formatter):
    """Writes `time`, `level`, `logger`, `message`, the record's extra members, and `exception`.

    The extra members are those logged with `extra=`; they never replace one of the others.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        members: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _OWN and name not in _FOREIGN:
                members.setdefault(name, value)
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return json.dumps(members, ensure_ascii=False, default=str)


def log_config(level: str, form: str) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`; everything goes to stderr."""
    text = {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    handled = {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"it": {"()": JsonFormatter} if form == "json" else text},
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
