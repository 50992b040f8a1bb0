"""Measure what a core answers, what that costs, what a replica needs: everything into measured.json."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.capacity import batches, footprint
from benchmarks.capacity.cases import CASES, MODELS, Case, Unknown, find
from benchmarks.capacity.costs import CROWD
from benchmarks.capacity.pinned import Pinned, as_figures, serving
from benchmarks.serving import machine

MEASURED = Path(__file__).parent / "measured.json"
CONNECTIONS = (1, 4, 16, CROWD)
# Of the rounds, those are kept during which other programs had least of the core: this machine is shared.
KEPT = 3
STEPPED = ("small", "photo")  # the cases that are simulated, measured at every number of connections
HEAVY = ("large", "large-matrix", "large-array", "batch")  # enough with a few connections
FEW = 16


def run(before: Mapping[str, Any] | None = None, *, quick: bool = False) -> dict[str, Any]:
    """Measure all of it; a quick run is for seeing that it runs.

    `before`: figures of which memory, start and batches stay as they are.
    """
    rounds, seconds, starts, repeats = (1, 1, 2, 20) if quick else (5, 1, 7, 200)
    rows: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    for model in MODELS:
        with serving() as server:
            pinned = Pinned(server, model)
            cases = [case for case in CASES if case.has_model or model == MODELS[0]]
            rows += [throughput(pinned, case, rounds, seconds) for case in cases]
            steps += [
                step for name in STEPPED for step in by_connections(pinned, find(name), rounds, seconds)
            ]
    result = {
        "machine": described(),
        "method": {"rounds": rounds, "kept": min(KEPT, rounds), "seconds": seconds},
        "throughput": rows,
        "steps": steps,
    }
    if before is not None:
        return result | {name: before[name] for name in ("batches", "memory", "start")}
    return result | {
        "batches": {model: batches.measure(model, repeats) for model in MODELS},
        "memory": footprint.memory(2),
        "start": footprint.starts(starts),
    }


def described() -> dict[str, Any]:
    """Say what the figures were taken on."""
    found = machine.describe()
    found["generator"] = found["generator"].replace("on the same cores", "on a core of its own")
    return found


def throughput(pinned: Pinned, case: Case, rounds: int, seconds: int) -> dict[str, Any]:
    """Fill a core with one kind of request, several times; give the medians and the deviation."""
    connections = FEW if case.name in HEAVY else CROWD
    pinned.press(case, connections, 1)
    found = [as_figures(*pinned.cost(case, connections, seconds)) for _ in range(rounds)]
    row = medians(found)
    # What a whole core would answer: others may have had a part of it while this was measured.
    row["per_core"] = round(1e6 / row["all_us"], 1)
    row |= {"case": case.name, "model": pinned.model if case.has_model else None}
    return row | {"pictures": case.pictures, "connections": connections}


def by_connections(pinned: Pinned, case: Case, rounds: int, seconds: int) -> list[dict[str, Any]]:
    """Measure a case at every number of connections, in turns: how costs fall as batches grow."""
    found: dict[int, list[dict[str, float]]] = {connections: [] for connections in CONNECTIONS}
    for _ in range(rounds):
        for connections, taken in found.items():
            taken.append(as_figures(*pinned.cost(case, connections, seconds)))
    return [
        medians(taken) | {"case": case.name, "model": pinned.model, "connections": connections}
        for connections, taken in found.items()
    ]


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Give each figure's median over the rounds kept, and of speed and cost the deviation."""
    rounds = sorted(rounds, key=lambda one: one["others"])[:KEPT]
    row: dict[str, Any] = {
        name: round(statistics.median(one[name] for one in rounds), 4) for name in rounds[0]
    }
    for name in ("per_second", "all_us"):
        values = [one[name] for one in rounds]
        row[f"{name}_deviation"] = round(statistics.stdev(values), 2) if len(values) > 1 else 0.0
    row["rounds"] = len(rounds)
    return row


def capacity_of(measured: Mapping[str, Any], case: str, model: str | None) -> dict[str, Any]:
    """Find what a core answered of a case. Raises Unknown."""
    wanted = model if find(case).has_model else None
    for row in measured["throughput"]:
        if row["case"] == case and row["model"] == wanted:
            found: dict[str, Any] = row
            return found
    raise Unknown(f"{case} with {model} was not measured: python -m benchmarks.capacity measure")
