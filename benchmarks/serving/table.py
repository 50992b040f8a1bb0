"""The comparison as a Markdown table."""

from collections.abc import Iterable
from typing import Any

from benchmarks.serving.compare import CONNECTIONS, errors, find
from benchmarks.serving.machine import signature

CROWD = max(CONNECTIONS)
HEAD = (
    "server",
    f"small PNG, requests/s at {CROWD}",
    "ours is",
    "p99 ms",
    "p50 ms at 1",
    f"photo, requests/s at {CROWD}",
    "ours is",
    "p99 ms",
    "p50 ms at 1",
    "errors",
    "memory MiB",
    "start s",
    "settings",
)


def render(result: dict[str, Any]) -> str:
    """Write everything a reader needs: table, what was left out, method, machine."""
    ours = next((row for row in result["servers"] if row["name"] == "ours"), None)
    lines = [line(HEAD), line("---" for _ in HEAD)]
    lines += [line(cells(row, ours)) for row in result["servers"]]
    lines += ["", *(f"Left out: {gone['label']}: {gone['why']}." for gone in result["left_out"])]
    return "\n".join([*lines, foot(result)])


def line(columns: Iterable[str]) -> str:
    return "| " + " | ".join(columns) + " |"


def cells(row: dict[str, Any], ours: dict[str, Any] | None) -> list[str]:
    """Fill one server's row."""
    name = f"{row['label']} ({row['version']})"
    figures = [text for payload in ("small", "photo") for text in figures_of(row, payload, ours)]
    ends = [f"{errors(row):,}", f"{row['memory_mib']:,.0f}", f"{row['start_s']:.1f}", row["settings"]]
    return [name, *figures, *ends]


def figures_of(row: dict[str, Any], payload: str, ours: dict[str, Any] | None) -> list[str]:
    """Give speed with its spread, ours in proportion, p99 of the crowd and p50 of a lone client."""
    crowd, alone = find(row, payload, CROWD), find(row, payload, 1)
    spread = (crowd["fastest_per_second"] - crowd["slowest_per_second"]) / 2
    speed = f"{crowd['per_second']:,.0f} ± {spread:,.0f}"
    ratio = "–"
    if ours is not None and row["name"] != "ours":
        ratio = f"{find(ours, payload, CROWD)['per_second'] / crowd['per_second']:.2f}×"
    return [speed, ratio, f"{crowd['p99_ms']:,.1f}", f"{alone['p50_ms']:.2f}"]


def foot(result: dict[str, Any]) -> str:
    """State machine, versions, method and n."""
    machine, method = result["machine"], result["method"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"\n{signature(machine)}, {machine['system']}, Python {machine['python']}, {versions}; "
        f"load: {machine['generator']}. "
        f"Medians of {method['rounds']} rounds of {method['seconds']} s each, ± half the spread; "
        f"payloads: {'; '.join(method['payloads'])}; as multipart form unless said otherwise. "
        "All serve cifar10-lenet, answers checked before and after. Memory: proportional set size of all "
        "processes after the load. Start: from the command to the first right answer."
    )
