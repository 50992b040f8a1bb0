"""Drive an open loop: requests come by chance at a rate, whether earlier ones are answered or not.

Runs pinned, as a process of its own: `python -m benchmarks.capacity.arrivals PORT CASE MODEL RATE SECONDS
SEED` prints one line of JSON. A request's time counts from when it was due, so a late generator, which it
states, makes no answer look quick.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import uvloop

from benchmarks.capacity.cases import Case, find
from benchmarks.capacity.pinned import LOAD_CORE
from benchmarks.reliability.wire import request
from benchmarks.serving.environments import REPOSITORY

WARM_UP_S = 1.0
PATIENCE_S = 12.0  # for what is under way when the last is sent


def drive(port: int, case: Case, model: str, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Run the generator on its own core and read what it found."""
    command = ["taskset", "--cpu-list", str(LOAD_CORE), sys.executable, "-m", __name__]
    command += [str(port), case.name, model, str(rate), str(seconds), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Generator:
    """Connections that are kept and used again, and what came back on them."""

    def __init__(self, port: int, data: bytes) -> None:
        self.port = port
        self.data = data
        self.free: list[Connection] = []
        self.under_way = 0
        self.opened = 0
        self.lost = 0
        self.ends: list[tuple[float, float, int]] = []  # due and ended, by perf_counter; status
        self.late_s: list[float] = []
        self.began = 0.0

    async def run(self, dues: list[float]) -> None:
        """Send a request at each time, seconds from now, and wait for the answers."""
        loop = asyncio.get_running_loop()
        began = self.began = time.perf_counter() + 0.05
        for number, due in enumerate(dues):
            if number % 8 == 0:  # one that is late reads answers nevertheless
                await asyncio.sleep(0)
            while (ahead := began + due - time.perf_counter()) > 0:  # noqa: ASYNC110
                # Timers tick in milliseconds: the last one is spent asking, on the generator's own core.
                await asyncio.sleep(max(0.0, ahead - 0.0015))
            self.late_s.append(time.perf_counter() - began - due)
            self.under_way += 1
            if self.free:
                self.free.pop().send(began + due)
            else:
                self.opened += 1
                made = partial(Connection, self, began + due)
                await loop.create_connection(made, "127.0.0.1", self.port)
        ends = time.perf_counter() + PATIENCE_S
        while self.under_way and time.perf_counter() < ends:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self, generator: Generator, due: float) -> None:
        self.generator = generator
        self.due = due
        self.received = bytearray()
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport  # uvloop's is no asyncio.Transport
        self.send(self.due)

    def send(self, due: float) -> None:
        self.due, self.busy = due, True
        self.transport.write(self.generator.data)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head = self.received.find(b"\r\n\r\n")
        if head < 0:
            return
        lowered = bytes(self.received[:head]).lower()
        length = int(lowered.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(self.received) < head + 4 + length:
            return
        status = int(self.received[9:12])
        self.received.clear()
        self.busy = False
        generator = self.generator
        generator.ends.append((self.due, time.perf_counter(), status))
        generator.under_way -= 1
        if b"connection: close" in lowered:
            self.transport.close()
        else:
            generator.free.append(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self.busy:
            self.generator.lost += 1
            self.generator.under_way -= 1
        elif self in self.generator.free:
            self.generator.free.remove(self)


def summary(generator: Generator, dues: list[float], seconds: float) -> dict[str, Any]:
    """Give what came of the requests that were due after the warm-up; times in milliseconds."""
    began = generator.began + WARM_UP_S
    counted = [end for end in generator.ends if end[0] >= began]
    answered = np.array([1000 * (ended - due) for due, ended, status in counted if status == 200])
    within = sum(
        1 for due, ended, status in generator.ends if status == 200 and began <= ended < began + seconds
    )
    statuses = Counter(status for _, _, status in counted)
    sent = sum(1 for due in dues if due >= WARM_UP_S)
    p50, p90, p99 = np.quantile(answered, (0.5, 0.9, 0.99)) if len(answered) else (0.0, 0.0, 0.0)
    return {
        "sent": sent,
        "seconds": seconds,
        "answered_per_second": round(within / seconds, 1),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "lost": generator.lost,
        "never_answered": generator.under_way,
        "p50_ms": round(float(p50), 3),
        "p90_ms": round(float(p90), 3),
        "p99_ms": round(float(p99), 3),
        "connections": generator.opened,
        "generator_late_p99_ms": round(float(np.quantile(generator.late_s, 0.99)) * 1000, 3),
    }


def dues_s(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw the times of a Poisson process."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds * 1.2) + 50)
    times = np.cumsum(gaps)
    return [float(due) for due in times[times < seconds]]


def main() -> None:
    port, name, model, rate, seconds, seed = sys.argv[1:]
    case = find(name)
    body = case.body()
    headers = {key.lower().replace("-", "_"): value for key, value in case.headers.items()}
    data = request("POST", case.path_for(model), body.data, content_type=body.content_type, **headers)
    generator = Generator(int(port), data)
    dues = dues_s(float(rate), WARM_UP_S + float(seconds), int(seed))
    uvloop.run(generator.run(dues))
    print(json.dumps(summary(generator, dues, float(seconds))))


if __name__ == "__main__":
    main()
