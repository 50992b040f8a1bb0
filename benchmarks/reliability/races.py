"""Races between batching and cancellation: by a seeded schedule, every caller's answer is looked at."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from service.batching import Batcher
from service.errors import QueueFull, ShuttingDown, WaitedTooLong


class Odd(Exception):
    """The error of one item, or of a whole batch, by the items that it is for."""

    def __init__(self, items: Sequence[int]) -> None:
        super().__init__(str(items))
        self.items = tuple(items)


class Erratic:
    """A function that answers `-item`, and sometimes fails for an item, for a batch, or takes its time."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.computed: Counter[int] = Counter()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.computed.update(items)
        time.sleep(self.chance.choice([0, 0, 0.0005, 0.003]))
        if self.chance.random() < 0.1:
            raise Odd(items)
        if self.chance.random() < 0.05:
            return [0] * (len(items) + 1)  # of no use to anybody: everyone gets an error
        return [Odd([item]) if self.chance.random() < 0.1 else -item for item in items]


@dataclass
class Findings:
    """How often each end was met, and what should not have been."""

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def check(self, so: bool, sentence: str) -> None:
        if not so:
            self.wrong.append(sentence)


async def schedule(seed: int, callers: int = 60) -> Findings:
    """Run one schedule: callers who come, wait and go at random, and a queue that may close meanwhile."""
    chance, findings = random.Random(seed), Findings()
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: findings.wrong.append(f"on the event loop: {context['message']}")
    )
    erratic = Erratic(random.Random(seed + 1))
    queue: Batcher[int, int] = Batcher(
        erratic,
        batch_size=chance.choice([1, 3, 8, 32]),
        queue_length=chance.choice([5, 30, 1000]),
        max_wait_s=chance.choice([0.001, 0.01, 60]),
    )
    queue.start()
    tasks = [
        asyncio.create_task(call(queue, item, chance.random() * 0.02, findings, erratic))
        for item in range(1, callers + 1)
    ]
    leavers = [
        asyncio.create_task(leave(task, chance.random() * 0.03)) for task in tasks if chance.random() < 0.3
    ]
    if chance.random() < 0.3:
        await asyncio.sleep(chance.random() * 0.02)
        await asyncio.wait_for(queue.close(), 30)
    _, unanswered = await asyncio.wait(tasks, timeout=30)
    findings.check(not unanswered, f"{len(unanswered)} callers were never answered")
    await asyncio.gather(*leavers, *tasks, return_exceptions=True)
    await asyncio.wait_for(queue.close(), 30)
    findings.check(not queue.thread.is_alive(), "the thread did not end")
    findings.check(not queue.waiting, "something still waits in a closed queue")
    findings.check(all(count == 1 for count in erratic.computed.values()), "an item was computed twice")
    findings.check(sum(findings.ends.values()) == callers, f"{findings.ends} are not {callers} ends")
    return findings


async def leave(task: "asyncio.Task[None]", after_s: float) -> None:
    await asyncio.sleep(after_s)
    task.cancel()


async def call(
    queue: Batcher[int, int], item: int, after_s: float, findings: Findings, erratic: Erratic
) -> None:
    """Be one caller; note how it ended, and whether that was this caller's own end."""
    try:
        await asyncio.sleep(after_s)
        answer = await queue.submit(item)
    except asyncio.CancelledError:
        findings.ends["cancelled"] += 1
    except Odd as error:
        findings.ends["error"] += 1
        findings.check(item in error.items, f"{item} got the error of {error.items}")
        findings.check(erratic.computed[item] == 1, f"{item} got an error of a batch it was not in")
    except RuntimeError:
        findings.ends["error"] += 1
        findings.check(erratic.computed[item] == 1, f"{item} got an error of a batch it was not in")
    except (QueueFull, ShuttingDown, WaitedTooLong) as error:
        findings.ends[type(error).__name__] += 1
        findings.check(erratic.computed[item] == 0, f"{item} was refused ({error.kind}) and computed")
    else:
        findings.ends["result"] += 1
        findings.check(answer.result == -item, f"{item} got {answer.result}")


def run(schedules: int, first_seed: int = 0) -> dict[str, Any]:
    """Run so many schedules, each of its own seed."""
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    before = set(threading.enumerate())
    for seed in range(first_seed, first_seed + schedules):
        found = asyncio.run(schedule(seed))
        ends += found.ends
        wrong += [f"seed {seed}: {each}" for each in found.wrong]
    left = [one.name for one in set(threading.enumerate()) - before if one.name == "batcher"]
    wrong += [f"{len(left)} threads left"] if left else []
    return {
        "schedules": schedules,
        "callers": sum(ends.values()),
        "ends": dict(ends),
        "wrong": wrong[:20],
        "wrong_count": len(wrong),
    }
