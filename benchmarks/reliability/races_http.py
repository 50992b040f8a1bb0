"""The same races over HTTP: pictures that are told apart by their answers, clients that leave at random."""

import asyncio
import itertools
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.reliability import sick
from benchmarks.reliability.launch import launched
from benchmarks.reliability.wire import Line, ask

CLIENTS = 48
LEAVE, FAIL = 0.2, 0.02


async def race(port: int, requests: int, seed: int = 0) -> dict[str, Any]:
    """Send so many pictures; no two that are under way have the same number."""
    chance = random.Random(seed)
    numbers = itertools.cycle(range(sick.NUMBERS))
    todo = iter(range(requests))
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    clients = [
        one_client(Line(port), todo, numbers, random.Random(chance.random()), ends, wrong)
        for _ in range(CLIENTS)
    ]
    await asyncio.gather(*clients)
    last = await ask(port, sick.ask_for(7))
    if last.json()["predictions"][0]["label"] != "7":
        wrong.append("afterwards the answer was another")
    return {"requests": requests, "ends": dict(ends), "wrong": wrong[:20], "wrong_count": len(wrong)}


async def one_client(
    line: Line,
    todo: Iterator[int],
    numbers: Iterator[int],
    chance: random.Random,
    ends: Counter[str],
    wrong: list[str],
) -> None:
    for _ in todo:
        number = sick.RAISES if chance.random() < FAIL else next(numbers)
        if chance.random() < LEAVE:
            _, writer = await line.open()
            data = sick.ask_for(number)
            writer.write(data[: chance.choice([len(data), len(data), len(data) // 2])])
            await asyncio.sleep(chance.choice([0, 0.0005, 0.002, 0.01]))
            line.leave(reset=chance.random() < 0.5)
            ends["left"] += 1
            continue
        try:
            answer = await asyncio.wait_for(line.exchange(sick.ask_for(number)), 60)
        except (OSError, EOFError, TimeoutError) as error:
            wrong.append(f"{number}: no answer, {type(error).__name__}")
            line.leave()
            continue
        ends[str(answer.status)] += 1
        if number == sick.RAISES:
            if answer.status != 500:
                wrong.append(f"the picture that cannot be classified got {answer.status}")
        elif answer.status != 200 or answer.json()["predictions"][0]["label"] != str(number):
            wrong.append(f"{number} got {answer.status} {answer.body[:100]!r}")
    line.leave()


def run(requests: int, workers: int = 2) -> dict[str, Any]:
    """Start the service with the numbering model, and race."""
    with tempfile.TemporaryDirectory() as folder:
        sick.write(Path(folder))
        with launched(workers=workers, STRIDE_MODELS_DIR=folder) as server:
            return asyncio.run(race(server.port, requests))
