"""The tables of docs/scaling.md that state what was simulated, and the law in front of all of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.capacity.cases import MODELS, find
from benchmarks.capacity.measure import capacity_of
from benchmarks.capacity.planning import replica_mib
from benchmarks.capacity.tables import table

Figures = Mapping[str, Any]
ENDS = ["p50 ms", "p99 ms", "refused", "lost"]


def law(measured: Figures, studied: Figures) -> str:
    """State the figures that everything else follows from."""
    small = [capacity_of(measured, "small", model)["per_core"] for model in MODELS]
    photo = [capacity_of(measured, "photo", model)["per_core"] for model in MODELS]
    memory, start = measured["memory"], measured["start"]
    adds = memory["two"]["loaded_mib"] - memory["one"]["loaded_mib"]
    sized = [row for row in studied["sizes"] if row["load"] == studied["load"]]
    needs = ", ".join(
        f"{row['replicas']} ({find(row['case']).name}, `{row['model']}`, p99 {row['p99_ms']:.0f} ms)"
        for row in sized
    )
    return "\n".join(
        [
            f"- **A core answers** {small[0]:,.0f} small pictures a second with `{MODELS[0]}` and"
            f" {small[-1]:,.0f} with `{MODELS[-1]}`;"
            f" {photo[0]:,.0f} and {photo[-1]:,.0f} photos of 1200×900.",
            f"- **A replica**, one process on one core, keeps {memory['one']['loaded_mib']:,.0f} MiB"
            f" of its own after load and maps {memory['one']['files_mib']:,.0f} MiB of files;"
            f" a second process beside it adds {adds:,.0f}. Give it {replica_mib(measured):,} MiB.",
            f"- **It starts** in {start['warm_s']['median']:.1f} s of one core,"
            f" {start['cold_s']['median']:.1f} s where torch comes from the disk.",
            "- **The core saturates**, nothing else: " + saturation(measured) + ".",
            f"- **{studied['rate']:,.0f} requests a second** at {studied['load']:.0%} of what cores can"
            f" answer take so many replicas, and one to spare: {needs}. Simulated, behind a balancer that"
            " asks whoever has the least in flight; one that spreads at random takes several times as long.",
        ]
    )


def saturation(measured: Figures) -> str:
    """Say which thread of a full core spends most, for the kinds that are simulated."""
    parts = []
    names = (("loop_us", "the event loop"), ("model_us", "the model's thread"), ("workers_us", "the decoder"))
    for case, model in (("small", MODELS[0]), ("small", MODELS[-1]), ("photo", MODELS[-1])):
        row = capacity_of(measured, case, model)
        most, name = max((row[key] / row["all_us"], label) for key, label in names)
        parts.append(f"{name} has {most:.0%} of it for {find(case).name}, `{model}`")
    return "; ".join(parts)


def kind(row: Figures) -> list[str]:
    return [row["case"], f"`{row['model']}`"]


def ends(row: Figures) -> list[str]:
    return [ms(row["p50_ms"]), ms(row["p99_ms"]), share(row["refused"]), f"{row['lost']:,}"]


def ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def share(value: float) -> str:
    return "0" if not value else f"{value:.2%}" if value < 0.1 else f"{value:.0%}"


def sizes(studied: Figures) -> str:
    """State replicas and times by how far they are loaded."""
    head = ["request", "model", "load", "replicas", *ENDS[:3], "core busy", "in flight a replica"]
    rows = [
        [
            *kind(row),
            f"{row['load']:.0%}",
            f"{row['replicas']}",
            *ends(row)[:3],
            f"{row['utilisation']:.0%}",
            f"{row['in_flight']:.1f}",
        ]
        for row in studied["sizes"]
    ]
    return table(head, rows)


def balancers(studied: Figures) -> str:
    """Compare ways of choosing a replica; then the same share on fewer replicas."""
    rows = [[row["balancer"], str(row["replicas"]), *ends(row)[:3]] for row in studied["balancers"]]
    first = table(["balancer", "replicas", *ENDS[:3]], rows)
    scales = [[f"{row['rate']:,.0f}", str(row["replicas"]), *ends(row)[:3]] for row in studied["scales"]]
    return first + "\n\n" + table(["requests/s", "replicas", *ENDS[:3]], scales)


def failures(studied: Figures) -> str:
    """State what failures and updates do to the requests of the 20 s, or of the time that they take."""
    head = ["what", "request", "model", "replicas", "p99 before, ms", *ENDS[1:]]
    rows = [
        [
            f"{row['dead']} lost with a {row['failure']}",
            *kind(row),
            f"{row['replicas']}",
            ms(row["before"]["p99_ms"]),
            *ends(row)[1:],
        ]
        for row in studied["failures"]
    ]
    rows += [
        [
            f"update in {row['took_s']:.0f} s, {row['update']}",
            *kind(row),
            f"{row['replicas']}",
            ms(row["before"]["p99_ms"]),
            *ends(row)[1:],
        ]
        for row in studied["updates"]
    ]
    return table(head, rows)


def steps(studied: Figures) -> str:
    """State what a fivefold load does, by autoscaler and by how many replicas are kept at any time."""
    head = [
        "autoscaler",
        "p50 ms",
        "p99 ms",
        "refused",
        "well after s",
        "replicas then",
        "at most",
        "p99 then, ms",
    ]
    first = table(head, ([row["autoscaler"], *step_row(row)] for row in studied["steps"]))
    head[0] = "kept of the full size"
    second = table(head, ([f"{row['least']:.0%}", *step_row(row)] for row in studied["least"]))
    return first + "\n\n" + second


def step_row(row: Figures) -> Sequence[str]:
    after = row["well_after_s"]
    well = "not in 180" if after is None else f"{after:.0f}"
    return [*ends(row)[:3], well, str(row["replicas"]), str(row["most"]), ms(row["settled"]["p99_ms"])]


def days(studied: Figures) -> str:
    """State what a day's wave does."""
    head = ["autoscaler", "replicas", "changes", "paid", *ENDS[:3]]
    rows = [
        [
            row["autoscaler"],
            f"{row['least']} to {row['most']}",
            str(row["changes"]),
            f"{row['paid']:.0%}",
            *ends(row)[:3],
        ]
        for row in studied["days"]
    ]
    return table(head, rows)
