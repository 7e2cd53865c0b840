from __future__ import annotations

import json
import logging
import logging.config
import sys

from gateway.telemetry.logs import JsonFormatter, log_config


def record(message: str, *arguments: object, error: bool = False) -> logging.LogRecord:
    info = None
    if error:
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            info = sys.exc_info()
    return logging.LogRecord("gateway", logging.WARNING, "f.py", 1, message, arguments, info)


def test_json_is_one_line_whatever_it_holds() -> None:
    line = JsonFormatter().format(record("a\n%s ü", '"x"', error=True))
    assert "\n" not in line
    told = json.loads(line)
    assert told["message"] == 'a\n"x" ü'
    assert (told["level"], told["logger"]) == ("warning", "gateway")
    assert told["time"].endswith("+00:00")
    assert "ZeroDivisionError" in told["exception"]


def test_what_is_logged_besides_is_in_json_and_takes_no_other_members_place() -> None:
    plain = record("a")
    plain.__dict__.update(section="weather", status=503, level="hers", color_message="a", at={1})
    told = json.loads(JsonFormatter().format(plain))
    assert told.pop("time")
    assert told == {
        "level": "warning", "logger": "gateway", "message": "a", "section": "weather",
        "status": 503, "at": "{1}",
    }  # fmt: skip


def test_the_configuration_is_one_that_logging_takes() -> None:
    for form in ("text", "json"):
        logging.config.dictConfigClass(log_config("info", form))
    config = log_config("debug", "json")
    assert config["formatters"]["it"] == {"()": JsonFormatter}
    assert config["loggers"]["gateway"]["level"] == "DEBUG"
