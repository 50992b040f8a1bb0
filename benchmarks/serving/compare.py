"""Measure every server in turn under the same load: the table's figures."""

import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPException
from subprocess import SubprocessError
from typing import Any

from benchmarks.serving import load
from benchmarks.serving.environments import PLACE, REPOSITORY, NotInstalled, version_in
from benchmarks.serving.harness import check, started
from benchmarks.serving.machine import own_version
from benchmarks.serving.payloads import Picture, photo, small_png
from benchmarks.serving.process import Failed, Server
from benchmarks.serving.servers import ENTRIES, OURS, Entry

CONNECTIONS = (1, 16, 64)
WARM_UP_CONNECTIONS = 16
MIDDLE = ("per_second", "p50_ms", "p90_ms", "p99_ms", "max_ms")
# One peer that fails in whatever way does not take the others' figures with it.
FAILURES = (NotInstalled, Failed, OSError, HTTPException, RuntimeError, SubprocessError)
SUMS = ("requests", "not_2xx", "socket_errors", "timeouts")


@dataclass(frozen=True)
class Method:
    """How long and how often; wrk takes whole seconds."""

    rounds: int
    seconds: int
    warm_up_s: int
    connections: Sequence[int] = CONNECTIONS

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return (small_png(), photo())


def compare(names: Sequence[str], method: Method) -> dict[str, Any]:
    """Measure the named servers, ours at the beginning and again at the end if it is among others."""
    entries = [entry for entry in ENTRIES if entry.name in names]
    measured, left_out = [], []
    again = [OURS] if OURS in entries and len(entries) > 1 else []
    for position, entry in enumerate([*entries, *again]):
        print(f"{entry.label} …", file=sys.stderr, flush=True)
        try:
            row = measure(entry, method)
        except FAILURES as error:
            reason = str(error).replace(str(REPOSITORY), ".").rstrip(".")
            print(f"{entry.label} is left out: {reason}", file=sys.stderr)
            left_out.append({"name": entry.name, "label": entry.label, "why": reason})
            continue
        if again and position == len(entries):
            row |= {"name": f"{OURS.name}-again", "label": f"{OURS.label}, again at the end"}
        measured.append(row)
    return {"servers": measured, "left_out": left_out}


def measure(entry: Entry, method: Method) -> dict[str, Any]:
    """Start a server, warm it, load it, check its answers before and after, weigh it, end it."""
    with started(entry) as server:
        for picture in method.pictures:
            run(entry, server, picture, WARM_UP_CONNECTIONS, method.warm_up_s)
        loads = rounds(entry, server, method)
        for picture in method.pictures:
            check(entry, server.port, picture)
        memory = server.memory_mib()
    place = PLACE / entry.environment if entry.environment else None
    version = version_in(place, entry.package) if place else own_version(entry.package or "stride")
    return {
        "name": entry.name,
        "label": entry.label,
        "version": version,
        "settings": entry.settings,
        "start_s": server.start_s,
        "memory_mib": memory,
        "loads": loads,
    }


def rounds(entry: Entry, server: Server, method: Method) -> list[dict[str, Any]]:
    """Go through all payloads and connections, as many times as asked."""
    cells = [(picture, count) for picture in method.pictures for count in method.connections]
    found: dict[tuple[str, int], list[load.Load]] = {}
    for _ in range(method.rounds):
        for picture, count in cells:
            result = run(entry, server, picture, count, method.seconds)
            found.setdefault((picture.name, count), []).append(result)
    return [summarise(payload, count, results) for (payload, count), results in found.items()]


def run(entry: Entry, server: Server, picture: Picture, connections: int, seconds: int) -> load.Load:
    """Drive one load. Raises Failed where the server gave no answer at all."""
    check(entry, server.port, picture)  # once it answers, it is done with what the load before left behind
    result = load.drive(server.port, entry.path, entry.body(picture), connections, seconds)
    if result.requests == 0:
        raise Failed(f"answered nothing to {connections} connections in {seconds} s")
    return result


def summarise(payload: str, connections: int, results: Iterable[load.Load]) -> dict[str, Any]:
    """Take medians over the rounds and sums of what was counted."""
    each = [asdict(result) | {"per_second": result.per_second} for result in results]
    speeds = [row["per_second"] for row in each]
    summary = {name: statistics.median(row[name] for row in each) for name in MIDDLE}
    summary |= {name: sum(row[name] for row in each) for name in SUMS}
    summary |= {"slowest_per_second": min(speeds), "fastest_per_second": max(speeds)}
    return {"payload": payload, "connections": connections, **summary, "rounds": each}


def find(row: dict[str, Any], payload: str, connections: int) -> dict[str, Any]:
    """Give one server's figures for a payload and so many connections."""
    return next(
        cell for cell in row["loads"] if (cell["payload"], cell["connections"]) == (payload, connections)
    )


def errors(row: dict[str, Any]) -> int:
    """Count everything that was not a right answer, over all loads."""
    return sum(cell[name] for cell in row["loads"] for name in SUMS[1:])
