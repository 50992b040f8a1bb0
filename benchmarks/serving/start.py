"""How long the service takes to be ready, against importing its libraries; what it keeps of memory."""

import http.client
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.serving import launches, machine
from benchmarks.serving.harness import started
from benchmarks.serving.payloads import multipart, small_png
from benchmarks.serving.process import free_ports, running
from benchmarks.serving.servers import ENTRIES

PAIRS, QUICK_PAIRS = 9, 2
IMPORTS = "import torch, fastapi"
CLIENTS, EACH = 16, 125
WEIGHED = ("ours-1", "ours", "tutorial")


def run(*, quick: bool = False) -> dict[str, Any]:
    """Measure pairs in turn, then memory; give the figures and a few lines as `text`."""
    imports(), ready()  # the disk is warm for both
    pairs = [(imports(), ready()) for _ in range(QUICK_PAIRS if quick else PAIRS)]
    importing, starting = zip(*pairs, strict=True)
    memory = {entry.label: weigh(entry.name) for entry in ENTRIES if entry.name in WEIGHED}
    result = {
        "machine": machine.describe(),
        "imports_s": importing,
        "ready_s": starting,
        "ratio": statistics.median(starting) / statistics.median(importing),
        "memory_mib": memory,
    }
    return result | {"text": render(result)}


def imports() -> float:
    """Time a Python that imports what the service is made of, and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    return time.perf_counter() - began


def ready() -> float:
    """Time from the command to a ready service with both models, one worker."""
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = launches.ours(1, None)(Path(sys.prefix), port, folder)
        with running(plan.command, plan.environment, port, folder, folder / "server.log") as server:
            server.wait(is_ready, pause_s=0.002)
            return server.start_s


def is_ready(port: int) -> bool:
    """Ask the service whether it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def weigh(name: str) -> float:
    """Give the memory of a server after 2,000 small pictures from 16 clients."""
    entry = next(entry for entry in ENTRIES if entry.name == name)
    with started(entry) as server:
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda _: send(server.port, EACH), range(CLIENTS)))
        return server.memory_mib()


def send(port: int, count: int) -> None:
    """Post a small picture so many times on one connection."""
    body = multipart(small_png())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(count):
        connection.request("POST", "/predict", body.data, {"Content-Type": body.content_type})
        connection.getresponse().read()
    connection.close()


def render(result: dict[str, Any]) -> str:
    """Write the figures as lines."""
    parts = {f"`{IMPORTS}`": result["imports_s"], "ready, both models, 1 worker": result["ready_s"]}
    lines = [
        f"{name}: {statistics.median(times):.2f} s ± {statistics.stdev(times):.2f} (n = {len(times)})"
        for name, times in parts.items()
    ]
    lines.append(f"ratio of medians: {result['ratio']:.2f}")
    lines += [
        f"memory after {CLIENTS * EACH:,} small pictures, {label}: {mib:,.0f} MiB"
        for label, mib in result["memory_mib"].items()
    ]
    about = result["machine"]
    return "\n".join([*lines, machine.signature(about)])
