"""Many mixed requests, every answer checked, while memory, open files and threads are watched."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.reliability import footprint
from benchmarks.reliability.footprint import Footprint
from benchmarks.reliability.mix import Ask, catalogue
from benchmarks.reliability.server import serving
from benchmarks.reliability.wire import Answer, Line, ask, request
from benchmarks.serving.process import Server

CLIENTS = 24
ROUNDS = 50
FRESH = 0.2  # of requests come on a new connection
LEAVERS = 0.02  # of requests are left in the middle
ANSWER_WITHIN_S = 60


@dataclass
class Tally:
    """What came of the requests."""

    sent: int = 0
    left: int = 0
    bad: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    full: int = 0  # 503s that said when to come again
    wrong: list[str] = field(default_factory=list)  # the first sentences
    wrong_count: int = 0

    def blame(self, one: Ask, why: str) -> None:
        self.wrong_count += 1
        if len(self.wrong) < 20:
            self.wrong.append(f"{one.name}: {why[:300]}")


class Client:
    """One that sends request after request on a connection it keeps, mostly."""

    def __init__(self, port: int, quiet: dict[str, bytes], tally: Tally, chance: random.Random) -> None:
        self.line = Line(port)
        self.quiet = quiet
        self.tally = tally
        self.chance = chance

    async def send(self, one: Ask) -> None:
        if self.chance.random() < FRESH:
            self.line.leave()
        self.tally.sent += 1
        self.tally.bad += one.is_bad
        self.tally.kinds[one.name] += 1
        if self.chance.random() < LEAVERS:
            await self.leave_in_the_middle(one)
            return
        try:
            answer = await asyncio.wait_for(self.exchange(one), ANSWER_WITHIN_S)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.tally.blame(one, f"no answer: {type(error).__name__} {error}")
            self.line.leave()
            return
        self.judge(one, answer)

    async def exchange(self, one: Ask) -> Answer:
        """Send it; once more where the kept connection was closed meanwhile, which HTTP leaves to clients."""
        kept = self.line.streams is not None
        try:
            answer = await self.line.exchange(one.data)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.line.leave()
            if not kept or (isinstance(error, asyncio.IncompleteReadError) and error.partial):
                raise
            answer = await self.line.exchange(one.data)
        if one.is_bad and answer.status in {413, 431}:
            self.line.leave()  # it owes the rest of a body that will not come
        return answer

    def judge(self, one: Ask, answer: Answer) -> None:
        self.tally.statuses[answer.status] += 1
        if answer.status == 503 and "retry-after" in answer.headers and one.status != 503:
            self.tally.full += 1
        elif answer.status != one.status:
            self.tally.blame(one, f"{answer.status} instead of {one.status}: {answer.body[:200]!r}")
        elif one.check is not None:
            try:
                one.check(answer)
            except Exception as error:  # whatever is wrong with an answer is a finding
                self.tally.blame(one, f"{type(error).__name__} {error}")
        elif answer.body != self.quiet[one.name]:
            self.tally.blame(one, "another body than from a quiet server")

    async def leave_in_the_middle(self, one: Ask) -> None:
        """Go away: within the body, or while the answer is being made."""
        self.tally.left += 1
        try:
            _, writer = await self.line.open()
            cut = self.chance.choice([len(one.data), len(one.data), len(one.data) // 2])
            writer.write(one.data[:cut])
            await asyncio.sleep(self.chance.choice([0, 0.001, 0.01]))
        except OSError:
            pass
        self.line.leave(reset=self.chance.random() < 0.5)


async def work(port: int, asks: Sequence[Ask], clients: Sequence[Client]) -> None:
    """Have the clients send all requests, each the next as it gets free; then close the connections."""
    todo = iter(asks)

    async def go_on(client: Client) -> None:
        for one in todo:
            await client.send(one)
        client.line.leave()

    await asyncio.gather(*map(go_on, clients))


async def soak(server: Server, requests: int, seed: int = 6, rounds: int = ROUNDS) -> dict[str, Any]:
    """Send so many requests in rounds, look at the server after each, and say what was found."""
    kinds, chance, tally = catalogue(), random.Random(seed), Tally()
    quiet = {one.name: (await ask(server.port, one.data)).body for one in kinds if one.check is None}
    clients = [Client(server.port, quiet, tally, random.Random(chance.random())) for _ in range(CLIENTS)]
    weights = [one.weight for one in kinds]
    looks: list[Footprint] = []
    began = time.monotonic()
    for number in range(rounds):
        share = requests * (number + 1) // rounds - requests * number // rounds
        await work(server.port, chance.choices(kinds, weights, k=share), clients)
        await asyncio.sleep(1)  # what was left is let go of
        looks.append(await asyncio.to_thread(footprint.look, server.processes()))
        print(f"{tally.sent:,} sent, {tally.wrong_count} wrong, {looks[-1]}", flush=True)
    spent_s = time.monotonic() - began
    await asyncio.sleep(2)
    return report(tally, looks, spent_s) | {"at_rest": await gauges(server.port)}


async def gauges(port: int) -> dict[str, float]:
    """Read what the service itself says of its state, all processes together."""
    lines = (await ask(port, request("GET", "/metrics"))).body.decode().splitlines()
    wanted = ("stride_buffered_bytes", "stride_queue_length", "stride_connections ", "stride_ready")
    found = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(wanted)
    }
    counted = sum(
        float(line.rpartition(" ")[2]) for line in lines if line.startswith("stride_requests_total{")
    )
    return found | {"stride_requests_total": counted}


def report(tally: Tally, looks: Sequence[Footprint], spent_s: float) -> dict[str, Any]:
    memory = [one.own_mib for one in looks]
    return {
        "requests": tally.sent,
        "seconds": round(spent_s, 1),
        "bad": tally.bad,
        "left": tally.left,
        "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
        "full": tally.full,
        "wrong_count": tally.wrong_count,
        "wrong": tally.wrong,
        "kinds": dict(sorted(tally.kinds.items())),
        "memory_growth": footprint.growth(memory),
        "memory_growth_by_fit": footprint.slope(memory),
        "files_growth": footprint.growth([one.files for one in looks]),
        "threads_growth": footprint.growth([one.threads for one in looks]),
        "looks": [asdict(one) for one in looks],
    }


def run(requests: int, workers: int = 2) -> dict[str, Any]:
    """Start the service and soak it."""
    with serving(workers) as server:
        return asyncio.run(soak(server, requests))
