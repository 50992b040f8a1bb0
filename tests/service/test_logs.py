"""Log lines: one a request, written together, none lost."""

import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.logs import FLUSH_AFTER_S, BufferedHandler, JsonLines, TextLines, log_request

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, BufferedHandler, io.StringIO]]:
    logger, handler, stream = logging.Logger("service"), BufferedHandler(), io.StringIO()
    handler.setStream(stream)
    handler.setFormatter(TextLines())
    logger.addHandler(handler)
    yield logger, handler, stream
    handler.close()


def wait_for(stream: io.StringIO, lines: int) -> list[str]:
    deadline = time.monotonic() + 20
    while len(found := stream.getvalue().splitlines()) < lines:
        assert time.monotonic() < deadline, found
        time.sleep(FLUSH_AFTER_S / 10)
    return found


def test_lines_are_written_in_order_soon_after(
    log: tuple[logging.Logger, BufferedHandler, io.StringIO],
) -> None:
    logger, _, stream = log
    for number in range(100):
        log_request(logger, "GET", f"/{number}", 200, "id", {"total": 1.25})
    lines = wait_for(stream, 100)
    assert [line.split()[3] for line in lines] == [f"/{number}" for number in range(100)]
    assert lines[0].endswith("GET /0 200 1.2 ms [id]")
    logger.info("later, when the first are long out")
    assert "later" in wait_for(stream, 101)[-1]


def test_a_warning_is_written_at_once_with_what_came_before(
    log: tuple[logging.Logger, BufferedHandler, io.StringIO],
) -> None:
    logger, _, stream = log
    logger.info("before")
    logger.warning("trouble")
    assert [line.split()[2] for line in stream.getvalue().splitlines()] == ["before", "trouble"]


def test_the_end_of_the_process_writes_what_is_left(
    log: tuple[logging.Logger, BufferedHandler, io.StringIO],
) -> None:
    logger, handler, stream = log
    logger.info("last words")
    handler.flush()  # as logging's own exit does
    assert "last words" in stream.getvalue()


def test_a_reader_that_is_gone_is_no_error(log: tuple[logging.Logger, BufferedHandler, io.StringIO]) -> None:
    logger, handler, _ = log
    read, write = os.pipe()
    os.close(read)
    gone = open(write, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    handler.setStream(gone)
    logger.warning("nobody hears")
    handler.setStream(io.StringIO())
    with pytest.raises(BrokenPipeError):
        gone.close()


def test_probes_are_logged_for_those_who_look_for_them_alone() -> None:
    logger, handler = logging.Logger("service", logging.INFO), BufferedHandler()
    handler.setStream(stream := io.StringIO())
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    log_request(logger, "GET", "/health/live", 200, "probe", {})
    log_request(logger, "GET", "/filters", 200, "call", {"total": 2.0})
    handler.flush()
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["request_id"], line["status"], line["total_ms"]) == ("call", 200, 2.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_a_forked_process_writes_its_own_lines_and_none_of_its_parents(tmp_path: Path) -> None:
    """In an interpreter of its own: this one has threads, and would warn."""
    code = """
import logging, os, sys, time
from service.logs import BufferedHandler
log, handler = logging.Logger("service"), BufferedHandler()
log.addHandler(handler)
log.info("parent")
if not (child := os.fork()):
    for number in range(3):
        log.info("child %d", number)
    time.sleep(1)
    os._exit(0)
os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines() == ["parent", "child 0", "child 1", "child 2"]
