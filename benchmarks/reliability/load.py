"""A few clients that ask over and over while something is done to the service, and what befell them."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from benchmarks.reliability.wire import Line, ask, request
from benchmarks.serving.payloads import small_png

PREDICT = request("POST", "/predict?top_k=1", small_png().data, content_type="image/png")
LIVE = request("GET", "/health/live")
LOST = (OSError, EOFError, TimeoutError)


@dataclass
class Fate:
    """What the clients met."""

    statuses: Counter[int] = field(default_factory=Counter)
    lost_on: list[int] = field(default_factory=list)  # the client's ports of connections that broke
    refused: int = 0  # connections that could not be made
    longest_s: float = 0.0

    def figures(self) -> dict[str, object]:
        return {
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "lost": len(self.lost_on),
            "refused": self.refused,
            "longest_s": round(self.longest_s, 3),
        }


@contextlib.asynccontextmanager
async def under_load(
    port: int, clients: int, data: bytes = PREDICT, pause_s: float = 0.002
) -> AsyncIterator[Fate]:
    """Keep so many clients asking while the block runs, each on a connection it keeps."""
    fate, stop = Fate(), asyncio.Event()

    async def go_on() -> None:
        line = Line(port)
        while not stop.is_set():
            await one(line, data, fate)
            await asyncio.sleep(pause_s)
        line.leave()

    tasks = [asyncio.create_task(go_on()) for _ in range(clients)]
    try:
        yield fate
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def one(line: Line, data: bytes, fate: Fate) -> None:
    """Ask once and note what came of it."""
    began = time.perf_counter()
    try:
        _, writer = await line.open()
    except OSError:
        fate.refused += 1
        return
    own = writer.get_extra_info("sockname")[1]
    try:
        answer = await asyncio.wait_for(line.exchange(data), 60)
    except LOST:
        fate.lost_on.append(own)
        line.leave()
    else:
        fate.statuses[answer.status] += 1
        fate.longest_s = max(fate.longest_s, time.perf_counter() - began)


async def latencies_ms(port: int, count: int, data: bytes = LIVE, pause_s: float = 0.02) -> list[float]:
    """Ask so often, each time on a new connection; times in rising order. Raises where one fails."""
    spent = []
    for _ in range(count):
        began = time.perf_counter()
        answer = await ask(port, data)
        assert answer.status == 200, answer
        spent.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(pause_s)
    return sorted(spent)


def summary(spent: list[float]) -> dict[str, float]:
    """Give the median and the longest of times in rising order, milliseconds."""
    return {"n": len(spent), "p50_ms": round(spent[len(spent) // 2], 2), "max_ms": round(spent[-1], 2)}


async def until(port: int, data: bytes = PREDICT, status: int = 200, within_s: float = 30) -> float:
    """Ask until the answer has this status; returns how long that took, seconds. Raises TimeoutError."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while True:
            with contextlib.suppress(*LOST):
                if (await ask(port, data, 5)).status == status:
                    return round(time.monotonic() - began, 3)
            await asyncio.sleep(0.05)
