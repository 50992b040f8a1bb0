"""Ten times the clients that fill the service, for a minute: what is answered, how late, and what follows.

Every client asks again the moment it is answered, whatever `Retry-After` says: the worst there are.
"""

import json
import subprocess
import sys
import threading
import time
from typing import Any

from benchmarks.reliability.server import serving
from benchmarks.serving import load, machine
from benchmarks.serving.environments import REPOSITORY
from benchmarks.serving.payloads import Body, multipart, small_png
from benchmarks.serving.process import Server

FULL, TIMES = 64, 10
WEIGH_EVERY_S = 5  # it holds the server's memory for milliseconds
MODELS = ("cifar10-lenet", "cifar10-resnet")


def run(*, quick: bool = False) -> dict[str, Any]:
    """Overload each model, and once with a queue too short for it; figures, and lines as `text`."""
    seconds = 5 if quick else 60
    found = [flood(model, seconds) for model in MODELS]
    found.append(flood(MODELS[1], seconds, STRIDE_QUEUE_LENGTH="64", STRIDE_QUEUE_TIMEOUT_S="0.5"))
    result = {"machine": machine.describe(), "floods": found}
    return result | {"text": "\n".join([*map(render, found), machine.signature(result["machine"])])}


def flood(model: str, seconds: int, **settings: str) -> dict[str, Any]:
    """Measure the peak, overload with a health check beside, and measure again from two seconds after it."""
    body, path = multipart(small_png()), f"/predict?model={model}"
    with serving(2, **settings) as server:
        load.drive(server.port, path, body, FULL, 2)
        peaks = [peak(server.port, path, body) for _ in range(2)]
        before_mib = server.memory_mib()
        poller = poll(server.port, max(1, seconds - 2))
        memory = Memory(server, before_mib)
        with memory:
            flooded = load.drive(server.port, path, body, FULL * TIMES, seconds, count_statuses=True)
        polled = json.loads(poller.communicate(timeout=60)[0])
        time.sleep(2)
        recovered = quick_answer_ms(server.port, path, body)
        peaks.append(peak(server.port, path, body))
    highest = sum(peaks) / len(peaks)
    goodput = flooded.statuses.get("200", 0) / flooded.seconds
    return {
        "model": model,
        "settings": settings,
        "seconds": seconds,
        "connections": FULL * TIMES,
        "peaks_per_second": peaks,
        "goodput_per_second": goodput,
        "goodput_of_peak": goodput / highest,
        "statuses": flooded.statuses,
        "lost": flooded.socket_errors + flooded.timeouts,
        "p50_ms": flooded.p50_ms,
        "p99_ms": flooded.p99_ms,
        "max_ms": flooded.max_ms,
        "health": polled,
        "memory_mib": {"before": before_mib, "highest": max(memory.seen), "last": memory.seen[-1]},
        "answered_afterwards_in_ms": recovered,
    }


def peak(port: int, path: str, body: Body) -> float:
    """Measure what is answered at best, with the same health checks beside."""
    poller = poll(port, 4)
    found = load.drive(port, path, body, FULL, 5).per_second
    poller.communicate(timeout=60)
    return found


def poll(port: int, seconds: int) -> "subprocess.Popen[str]":
    """Ask for the health from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.serving.polling", str(port), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)


def quick_answer_ms(port: int, path: str, body: Body) -> float:
    """Give the longest of a few single requests: what is left of the crowd would hold them up."""
    return load.drive(port, path, body, 1, 1).max_ms


class Memory:
    """Weighs a server now and then while a block runs."""

    def __init__(self, server: Server, before_mib: float) -> None:
        self.server = server
        self.seen = [before_mib]
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.weigh)

    def weigh(self) -> None:
        while not self.stop.wait(WEIGH_EVERY_S):
            self.seen.append(self.server.memory_mib())

    def __enter__(self) -> "Memory":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def render(found: dict[str, Any]) -> str:
    """Write one flood as lines."""
    answers = sum(found["statuses"].values())
    statuses = sorted(found["statuses"].items())
    shares = ", ".join(f"{status}: {count / answers:.1%}" for status, count in statuses)
    peaks = ", ".join(f"{peak:,.0f}" for peak in found["peaks_per_second"])
    memory = found["memory_mib"]
    head = f"{found['connections']} connections, {found['seconds']} s"
    goodput = f"{found['goodput_per_second']:,.0f} answered with 200 a second, {found['goodput_of_peak']:.0%}"
    weights = (
        f"{memory['before']:.0f} MiB before, {memory['highest']:.0f} at most, {memory['last']:.0f} after"
    )
    lines = [
        f"{found['model']} {found['settings'] or ''}: {head}",
        f"  peak at {FULL} connections {peaks} requests/s; in the flood {goodput}",
        f"  {shares}; {found['lost']} lost",
        f"  p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f}, longest {found['max_ms']:.0f};"
        f" memory {weights}; 2 s later answered in {found['answered_afterwards_in_ms']:.1f} ms at most",
    ]
    lines += [
        f"  GET /health/live, {kind}: p50 {one['p50_ms']:.1f} ms, p99 {one['p99_ms']:.1f}, longest"
        f" {one['max_ms']:.1f}, {one['failed']} failed (n = {one['n']})"
        for kind, one in found["health"].items()
    ]
    return "\n".join(lines)
