"""The simulation against the service: the same open load to both, side by side, into checked.json."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.capacity import arrivals
from benchmarks.capacity.cases import MODELS, find
from benchmarks.capacity.costs import Costs, from_measured
from benchmarks.capacity.fleet import Fleet
from benchmarks.capacity.fleet import Plan as Simulated
from benchmarks.capacity.measure import KEPT, capacity_of, described
from benchmarks.capacity.pinned import Pinned, serving

CHECKED = Path(__file__).parent / "checked.json"
LOADS = (0.3, 0.5, 0.7, 0.9, 1.2)  # of what a core answers at most in a closed loop
PAIRS = (("small", MODELS[0]), ("small", MODELS[-1]), ("photo", MODELS[-1]))
COMPARED = ("answered_per_second", "p50_ms", "p99_ms", "refused", "utilisation")


def run(measured: Mapping[str, Any], *, quick: bool = False) -> dict[str, Any]:
    """Load one process on one core by chance at five rates, and its simulation at the same."""
    rounds, seconds = (1, 2) if quick else (3, 2)
    rows = []
    for case, model in PAIRS:
        with serving() as server:
            pinned = Pinned(server, model)
            for load in LOADS:
                rate = load * capacity_of(measured, case, model)["per_core"]
                taken = [ask(pinned, case, rate, seconds, seed) for seed in range(rounds)]
                row = {"case": case, "model": model, "load": load, "rate": round(rate, 1)}
                rows.append(row | {"measured": together(taken)})
    result = {"machine": described(), "method": {"rounds": rounds, "seconds": seconds}, "rows": rows}
    return simulate_again(result, measured)


def ask(pinned: Pinned, case: str, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Load the service once and note what came of it, and how busy its core was."""
    before = pinned.last or pinned.spent()
    found = arrivals.drive(pinned.port, find(case), pinned.model, rate, seconds, seed)
    pinned.last = pinned.spent()
    spent = pinned.last.since(before)
    refused = found["statuses"].get("503", 0)
    lost = found["lost"] + found["never_answered"]
    return {
        "answered_per_second": found["answered_per_second"],
        "p50_ms": found["p50_ms"],
        "p99_ms": found["p99_ms"],
        "refused": round(refused / found["sent"], 4),
        "lost": lost,
        "utilisation": round(min(1.0, sum(spent.threads.values()) / (arrivals.WARM_UP_S + seconds)), 4),
        "generator_late_p99_ms": found["generator_late_p99_ms"],
        "others": spent.others(spent.at),
    }


def simulate_again(checked: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Put the simulation beside what was measured, from the service times that are there now."""
    rounds, seconds = checked["method"]["rounds"], checked["method"]["seconds"]
    rows = []
    for row in checked["rows"]:
        costs = from_measured(measured, row["case"], row["model"])
        taken = [simulate(costs, row["rate"], seconds, seed) for seed in range(rounds)]
        rows.append({**row, "simulated": together(taken)})
    return {**checked, "rows": rows}


def simulate(costs: Costs, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Let the simulation have the same load, from the same distribution."""
    warm_up_s = arrivals.WARM_UP_S
    whole_s = warm_up_s + seconds
    outcome = Fleet(Simulated(costs, lambda _: rate, whole_s, 1, seed=seed)).run()
    p50, p99 = outcome.quantiles_ms((0.5, 0.99), warm_up_s)
    ended = [
        born + spent
        for born, spent, how in zip(outcome.born, outcome.spent, outcome.how, strict=True)
        if not how
    ]
    answered = sum(1 for when in ended if warm_up_s <= when < whole_s) / seconds
    samples = outcome.samples[int(warm_up_s) :]
    return {
        "answered_per_second": round(answered, 1),
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
        "refused": round(outcome.share("refused", warm_up_s) + outcome.share("late", warm_up_s), 4),
        "lost": outcome.counts()["lost"],
        "utilisation": round(sum(one.utilisation for one in samples) / len(samples), 4),
    }


def together(taken: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Give medians and deviations of rounds."""
    if "others" in taken[0]:
        taken = sorted(taken, key=lambda one: one["others"])[:KEPT]
    row: dict[str, Any] = {name: statistics.median(one[name] for one in taken) for name in taken[0]}
    row["n"] = len(taken)
    row["deviations"] = {
        name: round(statistics.stdev([one[name] for one in taken]), 3) if len(taken) > 1 else 0.0
        for name in COMPARED
    }
    return row
