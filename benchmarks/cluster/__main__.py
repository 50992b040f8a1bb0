"""The command line: `python -m benchmarks.cluster [--quick]`, plain uvicorn and Ray Serve in turn."""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.cluster.systems import SYSTEMS, System
from benchmarks.serving import load, machine
from benchmarks.serving.payloads import Body, multipart, small_png
from benchmarks.serving.process import free_ports, running
from benchmarks.serving.start import is_ready

EDGE = [[10, 10, 10, 0, 0, 0]] * 6
RESULTS = Path(__file__).parent / "results.json"
ALONE, CROWD = 1, 64
SETTLE_S = 5  # until the second replica is there too


class Payload(NamedTuple):
    """What is asked."""

    name: str
    path: str
    body: Body


PAYLOADS = (
    Payload("cifar10-lenet", "/predict?model=cifar10-lenet", multipart(small_png())),
    Payload("cifar10-resnet", "/predict?model=cifar10-resnet", multipart(small_png())),
    Payload(
        "convolve 6×6",
        "/convolve",
        Body(json.dumps({"image": EDGE, "filter": "vertical-edge"}).encode(), "application/json"),
    ),
)


def main() -> int:
    """Measure and print; returns 2 where wrk or Ray is missing."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are ended
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each load, whole seconds")
    parser.add_argument("--quick", action="store_true", help="1 round of 1 s; keeps no figures")
    options = parser.parse_args()
    if not load.installed() or find_spec("ray") is None:
        print(f"error: {load.HINT}; Ray: pip install -e '.[cluster]'", file=sys.stderr)
        return 2
    rounds, seconds = (1, 1) if options.quick else (options.rounds, options.seconds)
    found = [one for _ in range(rounds) for one in (measure(system, seconds) for system in SYSTEMS)]
    about = machine.describe() | {"ray": version("ray"), "rounds": rounds, "seconds": seconds}
    print(render(found, about))
    if not options.quick:
        RESULTS.write_text(json.dumps({"machine": about, "runs": found}, indent=1, ensure_ascii=False) + "\n")
    return 0


def measure(system: System, seconds: int) -> dict[str, Any]:
    """Start a system, warm it, load it, weigh it, end it."""
    print(f"{system.label} …", file=sys.stderr, flush=True)
    port = free_ports(1)[0]
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="ray-") as name:
        folder = Path(name)
        given = system.environment | {"RAY_TMPDIR": name}
        with running(system.command(port, folder), given, port, folder, folder / "server.log") as server:
            server.wait(is_ready)
            time.sleep(SETTLE_S)
            idle = server.memory_mib()
            for payload in PAYLOADS:
                load.drive(port, payload.path, payload.body, 16, max(1, seconds // 2))
            cells = [
                {"payload": payload.name, **vars(driven), "per_second": driven.per_second}
                for payload in PAYLOADS
                for driven in (
                    load.drive(port, payload.path, payload.body, count, seconds) for count in (ALONE, CROWD)
                )
            ]
            row = {"system": system.name, "start_s": server.start_s, "idle_mib": idle}
            row |= {"memory_mib": server.memory_mib(), "processes": len(server.processes())}
    return row | {"load_average_before": busy, "loads": cells}


def render(found: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """Write a table a payload, then what each system takes; each ratio is of the same round."""
    lines = []
    for payload in PAYLOADS:
        lines += ["", line(payload.name, *COLUMNS), line(*["---"] * (len(COLUMNS) + 1))]
        lines += [line(system.label, *speeds(found, system.name, payload.name)) for system in SYSTEMS]
    lines += ["", line("", *(title for _, _, title in TAKEN)), line(*["---"] * (len(TAKEN) + 1))]
    for system in SYSTEMS:
        own = rows(found, system.name)
        lines += [line(system.label, *(spread([row[name] for row in own], n) for name, n, _ in TAKEN))]
    busy = spread([row["load_average_before"] for row in found], 1)
    return "\n".join(
        [*lines, "", f"{machine.signature(about)}, Ray {about['ray']}; load average before each: {busy}"]
    )


COLUMNS = ("requests/s at 64", "of uvicorn's", "p50 ms", "p99 ms", "p50 ms at 1", "errors")
TAKEN = (
    ("start_s", 1, "start s"),
    ("idle_mib", 0, "memory MiB, idle"),
    ("memory_mib", 0, "after the load"),
    ("processes", 0, "processes"),
)


def line(*columns: str) -> str:
    return "| " + " | ".join(columns) + " |"


def speeds(found: list[dict[str, Any]], system: str, payload: str) -> list[str]:
    """Fill a row of a payload's table."""
    crowd = [cell(row, payload, CROWD) for row in rows(found, system)]
    alone = [cell(row, payload, ALONE) for row in rows(found, system)]
    own = [one["per_second"] for one in crowd]
    base = [cell(row, payload, CROWD)["per_second"] for row in rows(found, "uvicorn")]
    wrong = sum(one[name] for one in crowd + alone for name in ("not_2xx", "socket_errors", "timeouts"))
    return [
        spread(own, 0),
        spread([mine / other for mine, other in zip(own, base, strict=True)], 2),
        *(spread([one[name] for one in crowd], 1) for name in ("p50_ms", "p99_ms")),
        spread([one["p50_ms"] for one in alone], 2),
        f"{wrong:,}",
    ]


def rows(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [row for row in found if row["system"] == name]


def cell(row: dict[str, Any], payload: str, connections: int) -> dict[str, Any]:
    wanted = (payload, connections)
    return next(one for one in row["loads"] if (one["payload"], one["connections"]) == wanted)


def spread(values: Iterable[float], digits: int) -> str:
    """Give mean ± standard deviation."""
    each = list(values)
    deviation = statistics.stdev(each) if len(each) > 1 else 0.0
    return f"{statistics.mean(each):,.{digits}f} ± {deviation:,.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
