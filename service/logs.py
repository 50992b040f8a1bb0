"""Logging for `python -m service`: one line a request, as text or JSON."""

import contextlib
import json
import logging
import os
import threading
import time
from typing import Any, Literal, TextIO

FLUSH_AFTER_S = 0.1


def log_request(
    log: logging.Logger, method: str, path: str, status: int, request_id: str, timings: dict[str, float]
) -> None:
    """Write a request's one line.

    Made by hand: `log.info` first looks for the line of code that calls it, which takes as long again.
    """
    # A probe every few seconds would bury everything else.
    level = logging.DEBUG if path.startswith("/health/") else logging.INFO
    if not log.isEnabledFor(level):
        return
    record = logging.LogRecord(log.name, level, "", 0, "%s %s %d", (method, path, status), None)
    record.request_id, record.status, record.timings = request_id, status, timings
    log.handle(record)


class BufferedHandler(logging.StreamHandler[TextIO]):
    """Write lines together, at most a tenth of a second late; warnings and errors at once.

    A write a line is a system call, in which another thread takes its turn: 11 µs of 173 a request.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.written = threading.Event()
        self.thread: threading.Thread | None = None
        if hasattr(os, "register_at_fork"):  # what waits is the parent's to write, once
            os.register_at_fork(before=self.flush, after_in_child=self.begin_again)

    def begin_again(self) -> None:
        """Forget the parent's thread: a forked process has none of it, nor what it held."""
        self.lines, self.written, self.thread = [], threading.Event(), None

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.lines.append(self.format(record))
        except Exception:
            self.handleError(record)
        if record.levelno >= logging.WARNING:
            self.flush()
        elif not self.written.is_set():
            self.flush_later()

    def flush_later(self) -> None:
        if self.thread is None or not self.thread.is_alive():
            self.thread = threading.Thread(target=self.keep_flushing, name="log", daemon=True)
            self.thread.start()
        self.written.set()

    def keep_flushing(self) -> None:
        while True:
            self.written.wait()
            self.written.clear()
            time.sleep(FLUSH_AFTER_S)
            self.flush()

    def flush(self) -> None:
        with (
            self.lock or threading.RLock(),
            contextlib.suppress(OSError, ValueError),
        ):  # nobody reads any more
            lines, self.lines = self.lines, []
            if lines:
                self.stream.write("\n".join(lines) + self.terminator)
            super().flush()


class Lines(logging.Formatter):
    """What both formats share: the time of day is put into words once a second."""

    time_format: str
    second = 0
    second_in_words = ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        second = int(record.created)
        if second != self.second:
            self.second_in_words = time.strftime(self.time_format, time.localtime(second))
            self.second = second
        return self.second_in_words


class JsonLines(Lines):
    """One JSON object a line: time, level, logger, message, and what a request's line carries."""

    time_format = "%Y-%m-%dT%H:%M:%S%z"

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record),
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


class TextLines(Lines):
    """The same for people: time, level, message, total milliseconds, request id."""

    time_format = "%H:%M:%S"

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {record.levelname:<7} {record.getMessage()}"
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
        "handlers": {"stderr": {"()": BufferedHandler, "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            # Says at WARNING what a caller got wrong, who is told so already.
            "python_multipart": {"level": "ERROR"},
            "service": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
            "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        },
    }
