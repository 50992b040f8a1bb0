"""The batch queue once more, written with SimPy: two programs that share no line should find the same times.

SimPy is the library one would take; it is for checking only, for it takes several times as long.
"""

import random
from collections.abc import Callable, Generator
from typing import Any

import simpy


def waits_s(
    rate: float, seconds: float, batch_size: int, batch_s: Callable[[int], float], seed: int
) -> list[float]:
    """Simulate requests by chance at one server of batches: what waits, up to a size, when it is free.

    Returns each request's seconds from its arrival to the end of its batch.
    """
    chance = random.Random(seed)
    environment = simpy.Environment()
    queue = simpy.Store(environment)
    found: list[float] = []

    def arrive() -> Generator[simpy.Event, None, None]:
        while environment.now < seconds:
            yield environment.timeout(chance.expovariate(rate))
            yield queue.put(environment.now)

    def serve() -> Generator[simpy.Event, None, None]:
        while True:
            batch: list[Any] = [(yield queue.get())]
            while queue.items and len(batch) < batch_size:
                batch.append((yield queue.get()))
            yield environment.timeout(batch_s(len(batch)))
            found.extend(environment.now - since for since in batch)

    environment.process(arrive())
    environment.process(serve())
    environment.run(until=seconds + 60)
    return found
