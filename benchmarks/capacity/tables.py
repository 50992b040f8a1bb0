"""The tables of docs/scaling.md that state measurements: of a core, of a replica, of the check."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.capacity.batches import SIZES
from benchmarks.capacity.cases import MODELS, find
from benchmarks.capacity.planning import LOAD, cost_per_million

Figures = Mapping[str, Any]
THREADS = {"loop_us": "the event loop", "model_us": "the model's thread", "workers_us": "the workers"}
PRICES = (0.02, 0.04, 0.08)  # assumptions, a core-hour


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(measured: Figures) -> str:
    """State what the figures are of."""
    about, how = measured["machine"], measured["method"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['processor']}, {about['cores']} cores, {about['date']}, {about['system']},"
        f" Python {about['python']}, {versions}. One process with one thread on one core; load:"
        f" {about['generator']}. Medians of {how['kept']} rounds of {how['seconds']} s, ± their standard"
        f" deviation: those of {how['rounds']} in which other programs had least of the core, for the machine"
        " was shared."
    )


def core(measured: Figures) -> str:
    """State what a core answers of each payload with each model, and which thread spends it."""
    head = ["request", "model", "requests/s a core", "measured, at so much of it", "µs of a core"]
    head += [*THREADS.values(), "pictures a batch"]
    return table(head, (core_row(row) for row in measured["throughput"]))


def core_row(row: Figures) -> list[str]:
    shares = [row[name] / row["all_us"] for name in THREADS]
    marked = [f"**{share:.0%}**" if share == max(shares) else f"{share:.0%}" for share in shares]
    batch = f"{row['pictures_a_batch']:.1f}" if row["model"] else ""
    return [
        find(row["case"]).label,
        f"`{row['model']}`" if row["model"] else "",
        f"{row['per_core']:,.0f}",
        f"{row['per_second']:,.0f} ± {row['per_second_deviation']:,.0f}, {row['core_share']:.0%}",
        f"{row['all_us']:,.0f} ± {row['all_us_deviation']:,.0f}",
        *marked,
        batch,
    ]


def batches(measured: Figures) -> str:
    """State how long a batch takes by its size."""
    head = ["pictures", *(f"`{model}`, {kind}" for model in MODELS for kind in ("small PNGs", "pixels"))]
    kinds = [measured["batches"][model][kind] for model in MODELS for kind in ("files", "pixels")]
    rows = []
    for size in map(str, SIZES):
        found = [kind[size] for kind in kinds]
        rows.append(
            [size, *(f"{one['mean_us'] / 1e3:.2f} ± {one['deviation_us'] / 1e3:.2f}" for one in found)]
        )
    return table(head, rows)


def replica(measured: Figures) -> str:
    """State memory and start."""
    memory, start = measured["memory"], measured["start"]
    rows = []
    for name, label in (("one", "one process"), ("two", "two processes")):
        found = memory[name]
        rows.append(
            [
                label,
                f"{found['ready_mib']:,.0f}",
                f"{found['loaded_mib']:,.0f}",
                f"{found['files_mib']:,.0f}",
            ]
        )
    adds = memory["two"]["ready_mib"] - memory["one"]["ready_mib"]
    loaded = memory["two"]["loaded_mib"] - memory["one"]["loaded_mib"]
    rows.append(["the second adds", f"{adds:,.0f}", f"{loaded:,.0f}", ""])
    first = table(["MiB", "ready", "after load", "and pages of files, shared"], rows)
    times = {
        "ready, everything cached": start["warm_s"],
        "of that, the core's own time": start["core_s"],
        "ready, torch from the disk": start["cold_s"],
    }
    times |= {f"of that: {name}": found for name, found in start["steps_s"].items()}
    second = table(
        ["start on one core", "seconds", "n"],
        [
            [name, f"{found['median']:.2f} ± {found['deviation']:.2f}", str(found["n"])]
            for name, found in times.items()
        ],
    )
    return first + "\n\n" + second


def check(checked: Figures) -> str:
    """Put measurement and simulation side by side."""
    how = checked["method"]
    foot = (
        f"Medians of {checked['rows'][0]['measured']['n']} rounds of {how['seconds']} s after 1 s of warm-up,"
        f" and of as many simulated ones. {checked['machine']['processor']}, {checked['machine']['date']}."
    )
    head = ["load", "offered/s", "answered/s", "p50 ms", "p99 ms", "refused", "core busy", "by others"]
    parts = []
    for case, model in dict.fromkeys((row["case"], row["model"]) for row in checked["rows"]):
        rows = [row for row in checked["rows"] if (row["case"], row["model"]) == (case, model)]
        title = f"**{find(case).label}, `{model}`**: measured / simulated (off by)"
        parts.append(title + "\n\n" + table(head, (check_row(row) for row in rows)))
    return "\n\n".join([*parts, foot])


def check_row(row: Figures) -> list[str]:
    measured, simulated = row["measured"], row["simulated"]
    both = [both_of(measured[key], simulated[key]) for key in ("answered_per_second", "p50_ms", "p99_ms")]
    shares = [f"{measured[key]:.0%} / {simulated[key]:.0%}" for key in ("refused", "utilisation")]
    others = f"{measured['others']:.0%}"
    return [f"{row['load']:.0%}", f"{row['rate']:,.0f}", *both, *shares, others]


def both_of(measured: float, simulated: float) -> str:
    """Write two figures and how far the second is off the first."""
    digits = 0 if measured >= 100 else 1
    return f"{measured:,.{digits}f} / {simulated:,.{digits}f} ({off(measured, simulated):+.0%})"


def off(measured: float, simulated: float) -> float:
    return simulated / measured - 1 if measured else 0.0


def errors(checked: Figures) -> str:
    """Say how far off the simulation is, in one sentence a figure."""
    below = [row for row in checked["rows"] if row["load"] < 0.9]
    above = [row for row in checked["rows"] if row["load"] >= 0.9]
    lines = []
    for label, rows in (("up to 70 % of what a core answers", below), ("at 90 and 120 %", above)):
        parts = []
        for key, name in (("answered_per_second", "throughput"), ("p50_ms", "p50"), ("p99_ms", "p99")):
            found = sorted(abs(off(row["measured"][key], row["simulated"][key])) for row in rows)
            parts.append(f"{name} {found[len(found) // 2]:.0%} (at most {found[-1]:.0%})")
        lines.append(f"- {label}: off by, median of {len(rows)} comparisons: {', '.join(parts)}")
    return "\n".join(lines)


def cost(measured: Figures) -> str:
    """State what a million predictions cost at prices that are assumed."""
    head = ["a million of", "model", "core-hours", *(f"at {price:g} a core-hour" for price in PRICES)]
    rows = []
    for row in measured["throughput"]:
        if not row["model"]:
            continue
        found = [cost_per_million(measured, row["case"], row["model"], price) for price in (1.0, *PRICES)]
        unit = "pictures in " if row["pictures"] > 1 else ""
        rows.append(
            [
                unit + find(row["case"]).label,
                f"`{row['model']}`",
                f"{found[0]:.2f}",
                *(f"{price:.3f}" for price in found[1:]),
            ]
        )
    return table(head, rows) + f"\n\nCores {LOAD:.0%} loaded."
