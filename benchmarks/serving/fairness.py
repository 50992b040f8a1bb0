"""What one client with huge photos does to everybody's small pictures."""

import http.client
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.serving import load, machine
from benchmarks.serving.harness import check, started
from benchmarks.serving.payloads import Body, large_photo, multipart, small_png
from benchmarks.serving.servers import OURS

CONNECTIONS = 63


def run(*, quick: bool = False) -> dict[str, Any]:
    """Alternate rounds without and with the client; give the figures and a few lines as `text`."""
    rounds, seconds = (1, 2) if quick else (3, 5)
    small, large = multipart(small_png()), multipart(large_photo())
    alone, beside, photo_s = [], [], []
    with started(OURS) as server:
        check(OURS, server.port, large_photo())
        load.drive(server.port, OURS.path, small, CONNECTIONS, 1)
        for _ in range(rounds):
            alone.append(load.drive(server.port, OURS.path, small, CONNECTIONS, seconds))
            with sending(server.port, large) as times:
                beside.append(load.drive(server.port, OURS.path, small, CONNECTIONS, seconds))
            photo_s += times
    result = {
        "machine": machine.describe(),
        "photo": large_photo().describe(),
        "alone": [figures(each) for each in alone],
        "beside": [figures(each) for each in beside],
        "photo_s": photo_s,
    }
    return result | {"text": render(result, seconds)}


@contextmanager
def sending(port: int, body: Body) -> Iterator[list[float]]:
    """Post one body after the other on one connection until the block ends; give how long each took."""
    times: list[float] = []
    stop = threading.Event()

    def post() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not stop.is_set():
            began = time.perf_counter()
            connection.request("POST", OURS.path, body.data, {"Content-Type": body.content_type})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                times.append(time.perf_counter() - began)
        connection.close()

    client = threading.Thread(target=post)
    client.start()
    try:
        yield times
    finally:
        stop.set()
        client.join()


def figures(result: load.Load) -> dict[str, float]:
    """Keep what is compared."""
    kept = {"per_second": result.per_second, "p50_ms": result.p50_ms, "p99_ms": result.p99_ms}
    return kept | {"errors": result.errors}


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Take the middle of the rounds."""
    return {key: statistics.median(row[key] for row in rows) for key in ("per_second", "p50_ms", "p99_ms")}


def render(result: dict[str, Any], seconds: int) -> str:
    """Write medians over the rounds, and their ratio."""
    lines = [f"| {CONNECTIONS} connections, small PNG | requests/s | p50 ms | p99 ms | errors |"]
    lines.append("| --- | --- | --- | --- | --- |")
    middle = {name: medians(result[name]) for name in ("alone", "beside")}
    labels = {"alone": "alone", "beside": f"beside one client of photos ({result['photo']})"}
    for name, found in middle.items():
        wrong = sum(row["errors"] for row in result[name])
        speed = f"{found['per_second']:,.0f} | {found['p50_ms']:.1f} | {found['p99_ms']:.1f}"
        lines.append(f"| {labels[name]} | {speed} | {wrong} |")
    ratio = middle["beside"]["p99_ms"] / middle["alone"]["p99_ms"]
    times, about = result["photo_s"], result["machine"]
    took = f"median {statistics.median(times):.2f} s" if times else "none was answered"
    lines.append(
        f"\np99 ratio {ratio:.2f}; {len(times)} photos answered, {took}; {OURS.label}, "
        f"{len(result['alone'])} alternating rounds of {seconds} s; "
        f"{machine.signature(about)}"
    )
    return "\n".join(lines)
