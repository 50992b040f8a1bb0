"""What ten times too many clients do: to answers that are given, and to the health check."""

import json
import subprocess
import sys
from typing import Any

from benchmarks.serving import load, machine
from benchmarks.serving.environments import REPOSITORY
from benchmarks.serving.harness import check, started
from benchmarks.serving.payloads import multipart, small_png
from benchmarks.serving.servers import OURS

FULL, TIMES = 64, 10


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure capacity, then overload with a health check beside; figures, and a few lines as `text`."""
    seconds, long = (2, 4) if quick else (5, 20)
    body = multipart(small_png())
    with started(OURS) as server:
        load.drive(server.port, OURS.path, body, FULL, 1)
        capacity = load.drive(server.port, OURS.path, body, FULL, seconds)
        poller = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving.polling", str(server.port), str(max(1, long - 2))],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        flood = load.drive(server.port, OURS.path, body, FULL * TIMES, long, count_statuses=True)
        polled = json.loads(poller.communicate(timeout=60)[0])
        check(OURS, server.port, small_png())
        again = load.drive(server.port, OURS.path, body, FULL, seconds)
    result = {
        "machine": machine.describe(),
        "capacity_per_second": capacity.per_second,
        "afterwards_per_second": again.per_second,
        "connections": FULL * TIMES,
        "seconds": flood.seconds,
        "goodput_per_second": flood.statuses.get("200", 0) / flood.seconds,
        "statuses": flood.statuses,
        "socket_errors": flood.socket_errors,
        "timeouts": flood.timeouts,
        "p50_ms": flood.p50_ms,
        "p99_ms": flood.p99_ms,
        "health": polled,
    }
    return result | {"text": render(result)}


def render(result: dict[str, Any]) -> str:
    """Write the figures as lines."""
    answers = sum(result["statuses"].values())
    counted = sorted(result["statuses"].items())
    shares = ", ".join(f"{status}: {count / answers:.1%}" for status, count in counted)
    capacity, goodput = result["capacity_per_second"], result["goodput_per_second"]
    lines = [
        f"capacity at {FULL} connections: {capacity:,.0f} requests/s; "
        f"after the flood: {result['afterwards_per_second']:,.0f}",
        f"{result['connections']} connections for {result['seconds']:.0f} s: {goodput:,.0f} answered "
        f"with 200 a second ({goodput / capacity:.0%} of capacity); statuses {shares}; "
        f"{result['socket_errors']} socket errors, {result['timeouts']} time-outs; "
        f"p50 {result['p50_ms']:.0f} ms, p99 {result['p99_ms']:.0f} ms",
    ]
    lines += [
        f"GET /health/live, {kind}: p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms, "
        f"longest {found['max_ms']:.1f} ms, {found['failed']} failed (n = {found['n']})"
        for kind, found in result["health"].items()
    ]
    about = result["machine"]
    return "\n".join([*lines, f"{OURS.label}; {machine.signature(about)}"])
