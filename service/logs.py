"""Logging for `python -m service`: one line a request, as text or JSON."""

import json
import logging
from typing import Any, Literal


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what a request's line carries."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for key in ("request_id", "status"):
            if hasattr(record, key):
                line[key] = getattr(record, key)
        for stage, milliseconds in getattr(record, "timings", {}).items():
            line[f"{stage}_ms"] = round(milliseconds, 2)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class TextLines(logging.Formatter):
    """The same for people: time, level, message, total milliseconds, request id."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname:<7} {record.getMessage()}"
        if total := getattr(record, "timings", {}).get("total"):
            line += f" {total:.1f} ms"
        if request_id := getattr(record, "request_id", ""):
            line += f" [{request_id}]"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def log_config(form: Literal["text", "json"]) -> dict[str, Any]:
    """Give the configuration that uvicorn applies in each of its processes."""
    formatter = JsonLines if form == "json" else TextLines
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            # Says at WARNING what a caller got wrong, who is told so already.
            "python_multipart": {"level": "ERROR"},
            "service": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        },
    }
