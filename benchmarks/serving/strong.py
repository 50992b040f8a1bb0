"""The strong model over HTTP against bare loops of runtimes on the same cores."""

import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.serving import launches, load, machine
from benchmarks.serving.environments import REPOSITORY, ensure, version_in
from benchmarks.serving.harness import check, started
from benchmarks.serving.payloads import small_png
from benchmarks.serving.process import Failed
from benchmarks.serving.runtimes import ENGINES
from benchmarks.serving.servers import Entry

MODEL = REPOSITORY / "models" / "cifar10-resnet.pt"
BATCHES = (1, 8, 32)
CONNECTIONS, WARM_UP_S = 64, 2
LIMIT_S = 240


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure servers and loops in turn, several rounds; give the figures and a table as `text`."""
    rounds, seconds = (1, 1) if quick else (3, 3)
    place = ensure("runtimes")
    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, cores})
    servers, loops = [], []
    for _ in range(rounds):
        servers += [served(workers, seconds) for workers in counts]
        loops += [loop(place, name, count, cores // count, seconds) for name in ENGINES for count in counts]
    result = {
        "machine": machine.describe(),
        "runtimes": {name: version_in(place, name) for name in ("onnxruntime", "openvino")},
        "method": {"rounds": rounds, "seconds": seconds, "connections": CONNECTIONS},
        "servers": servers,
        "loops": loops,
    }
    return result | {"text": render(result)}


def served(workers: int, seconds: int) -> dict[str, Any]:
    """Load our service with the strong model alone."""
    entry = Entry("ours", f"Stride, {workers} workers", launches.ours(workers, MODEL), "")
    body = entry.body(small_png())
    with started(entry, MODEL) as server:
        load.drive(server.port, entry.path, body, CONNECTIONS, WARM_UP_S)
        result = load.drive(server.port, entry.path, body, CONNECTIONS, seconds)
        check(entry, server.port, small_png(), MODEL)
    figures = {"per_second": result.per_second, "p50_ms": result.p50_ms, "p99_ms": result.p99_ms}
    return {"workers": workers, "errors": result.errors, **figures}


def loop(place: Path, name: str, processes: int, threads: int, seconds: int) -> dict[str, Any]:
    """Run one runtime in so many processes at once, and sum."""
    command = [str(place / "bin/python"), "-m", "benchmarks.serving.runtimes", name]
    command += [str(threads), ",".join(map(str, BATCHES)), str(seconds)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(REPOSITORY)}
    row: dict[str, Any] = {"engine": name, "processes": processes, "threads": threads}
    children = [
        subprocess.Popen(command, env=environment, cwd=REPOSITORY, text=True, stdout=-1, stderr=-1)
        for _ in range(processes)
    ]
    try:
        outputs = [child.communicate(timeout=LIMIT_S) for child in children]
    finally:
        for child in children:
            child.kill()
    if any(child.returncode for child in children):
        raise Failed(f"{name} failed: {outputs[0][1].strip().splitlines()[-1][:200]}")
    found = [json.loads(out.splitlines()[-1]) for out, _ in outputs]
    row["per_second"] = {size: sum(each["per_second"][str(size)] for each in found) for size in BATCHES}
    row["probability_off"] = max(each["probability_off"] for each in found)
    return row


def render(result: dict[str, Any]) -> str:
    """Write servers and loops as one table, the loops' speeds a column for each size of batch."""
    lines = ["| | " + " | ".join(f"batch {size}" for size in BATCHES) + " | probability off by | ours is |"]
    lines.append("| --- |" + " --- |" * (len(BATCHES) + 2))
    speeds = {}
    for workers, rows in grouped(result["servers"], ("workers",)).items():
        speeds[workers] = statistics.median(row["per_second"] for row in rows)
        p99_ms, wrong = statistics.median(row["p99_ms"] for row in rows), sum(row["errors"] for row in rows)
        figures = f"{speeds[workers]:,.0f}/s, p99 {p99_ms:.0f} ms, {wrong} errors"
        lines.append(f"| **over HTTP, {workers[0]} workers**: {figures} |" + " |" * (len(BATCHES) + 2))
    best = max(speeds.values())
    for kind, rows in grouped(result["loops"], ("engine", "processes", "threads")).items():
        middle = [statistics.median(row["per_second"][size] for row in rows) for size in BATCHES]
        figures = " | ".join(f"{speed:,.0f}" for speed in middle)
        off, ratio = max(row["probability_off"] for row in rows), best / middle[-1]
        name = f"{kind[0]}, {kind[1]} × {kind[2]} threads"
        lines.append(f"| {name} | {figures} | {off:.0e} | {ratio:.2f}× |")
    return "\n".join([*lines, foot(result)])


def grouped(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Gather the rounds of the same kind."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def foot(result: dict[str, Any]) -> str:
    """State machine, versions, method and n."""
    about, method = result["machine"], result["method"]
    versions = {"torch": about["versions"]["torch"], **result["runtimes"]}
    return (
        f"\n{machine.signature(about)}, {', '.join(f'{name} {each}' for name, each in versions.items())}; "
        f"pictures a second of cifar10-resnet, medians of "
        f"{method['rounds']} rounds of {method['seconds']} s; "
        f"over HTTP: small PNG, {CONNECTIONS} connections; `ours is`: the faster server, HTTP and decoding "
        f"included, against the loop at batch {BATCHES[-1]}."
    )
