"""Start one server and know that it answers rightly: what every measurement begins and ends with."""

import contextlib
import http.client
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.serving import answers, environments
from benchmarks.serving.launches import MODEL
from benchmarks.serving.payloads import Picture, small_png
from benchmarks.serving.process import Failed, Server, free_ports, running
from benchmarks.serving.servers import Entry


@contextlib.contextmanager
def started(entry: Entry, model: Path = MODEL) -> Iterator[Server]:
    """Run a server until the block ends; it has given its first right answer when the block begins.

    Raises NotInstalled or Failed.
    """
    place = environments.ensure(entry.environment) if entry.environment else Path(sys.prefix)
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        folder = Path(name)
        plan = entry.launch(place, port, folder)
        with running(plan.command, plan.environment, port, folder, folder / "server.log") as server:
            server.wait(lambda at: is_ready(entry, at, model))
            yield server


def is_ready(entry: Entry, port: int, model: Path) -> bool:
    """Ask for one small picture; a wrong answer is a failure, none yet is not."""
    try:
        check(entry, port, small_png(), model)
    except (OSError, http.client.HTTPException):
        return False
    return True


def check(entry: Entry, port: int, picture: Picture, model: Path = MODEL) -> None:
    """Compare an answer with what the artefact says in this process. Raises Failed where it differs."""
    text = answers.ask(port, entry.path, entry.body(picture))
    try:
        if entry.answers:
            answers.check(text, answers.expected(model, picture))
    except ValueError as error:
        raise Failed(f"{entry.label}, {picture.name}: {error}") from error
