"""Simulated replicas behind a balancer: clients that come back, failures, rolling updates, an autoscaler."""

import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.capacity.autoscaling import Autoscaler, Sample
from benchmarks.capacity.cases import Unknown
from benchmarks.capacity.clock import Clock
from benchmarks.capacity.costs import Costs
from benchmarks.capacity.replica import Policy, Replica, Request

Rate = Callable[[float], float]  # seconds -> requests a second
SLOT_S = 0.1  # within it a rate is constant
ENDS = ("answered", "refused", "late", "lost")
DEFAULT_POLICY = Policy()
BALANCERS = ("round-robin", "least-connections", "two-choices", "random")


@dataclass(frozen=True)
class Plan:
    """What is simulated: times in seconds.

    `tries`: how often a client asks in all, coming back after Retry-After (and up to half as long again).
    `hang_s`: what a client waits for one that is silent.
    """

    costs: Costs
    rate: Rate
    seconds: float
    replicas: int
    policy: Policy = DEFAULT_POLICY
    balancer: str = "least-connections"
    start_s: float = 2.0
    tries: int = 1
    hang_s: float = 5.0
    autoscaler: Autoscaler | None = None
    seed: int = 1


@dataclass
class Outcome:
    """Every request's end, in the order of the ends; samples of every second."""

    born: "array[float]" = field(default_factory=lambda: array("d"))
    spent: "array[float]" = field(default_factory=lambda: array("d"))
    how: "array[int]" = field(default_factory=lambda: array("B"))
    arrived: int = 0
    samples: list[Sample] = field(default_factory=list)
    replica_s: float = 0.0  # that were paid for, starting and draining ones included
    events: list[tuple[float, str]] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        found = Counter(self.how)
        return {name: found.get(index, 0) for index, name in enumerate(ENDS)}

    def quantiles_ms(self, shares: tuple[float, ...], begin: float = 0.0, end: float = 1e18) -> list[float]:
        """Give quantiles of the answered ones' times, of those born in an interval; milliseconds."""
        born, spent = np.frombuffer(self.born), np.frombuffer(self.spent)
        kept = (np.frombuffer(self.how, np.uint8) == 0) & (born >= begin) & (born < end)
        if not kept.any():
            return [float("nan") for _ in shares]
        return [float(value) * 1000 for value in np.quantile(spent[kept], shares)]

    def share(self, how: str, begin: float = 0.0, end: float = 1e18) -> float:
        """Give what share of the requests born in an interval ended so."""
        born, ends = np.frombuffer(self.born), np.frombuffer(self.how, np.uint8)
        inside = (born >= begin) & (born < end)
        return float((ends[inside] == ENDS.index(how)).mean()) if inside.any() else 0.0


class Fleet:
    """Replicas, who is asked next, and what becomes of each request."""

    def __init__(self, plan: Plan) -> None:
        if plan.balancer not in BALANCERS:
            raise Unknown(f"no balancer {plan.balancer!r}; there are {', '.join(BALANCERS)}")
        self.plan = plan
        self.clock = Clock()
        self.random = random.Random(plan.seed)
        self.outcome = Outcome()
        self.routed: list[Replica] = []  # those the balancer knows
        self.starting = 0
        self.draining: list[Replica] = []
        self.silent: set[int] = set()  # dead ones that refuse nothing, by id: their node is gone
        self.generation: dict[int, int] = {}
        self.current = 0
        self.turn = 0
        self.wanted = plan.replicas
        self.busy_before: dict[int, float] = {}
        self.arrivals = arrivals(plan.rate, plan.seconds, np.random.default_rng(plan.seed))
        self.choose = {
            "round-robin": self.next_in_turn,
            "least-connections": self.least_busy,
            "two-choices": self.better_of_two,
            "random": self.anyone,
        }[plan.balancer]
        for _ in range(plan.replicas):
            self.make_ready(0.0, self.current)

    def run(self, after_s: float = 60.0) -> Outcome:
        """Simulate it, and on until every request has its end."""
        self.next_arrival(0.0)
        self.clock.at(1.0, self.every_second)
        self.clock.run(self.plan.seconds)
        for _ in range(100):
            if len(self.outcome.how) >= self.outcome.arrived:
                break
            self.clock.run(self.clock.now + after_s)
        return self.outcome

    # Requests

    def next_arrival(self, now: float, request: Any = None) -> None:
        if request is not None:
            self.outcome.arrived += 1
            self.send(now, request)
        due = next(self.arrivals, None)
        if due is not None:
            self.clock.at(due, self.next_arrival, Request(due))

    def send(self, now: float, request: Request) -> None:
        """Have the balancer pass a request on."""
        if not self.routed:
            self.end(now, request, "lost")
            return
        replica = self.choose()
        if replica.alive:
            replica.take(now, request)
        elif id(replica) in self.silent:
            replica.in_flight += 1  # as the balancer sees it
            self.clock.at(now + self.plan.hang_s, self.give_up, (replica, request))
        else:  # the connection is refused: the next one is asked
            self.notice(now, replica)
            self.send(now, request)

    def give_up(self, now: float, waited: tuple[Replica, Request]) -> None:
        replica, request = waited
        replica.in_flight -= 1
        self.end(now, request, "lost")

    def end(self, now: float, request: Request, how: str) -> None:
        """Note a request's end, unless its client comes back."""
        if how in {"refused", "late"} and request.tries < self.plan.tries:
            request.tries += 1
            self.clock.at(now + request.pause_s * (1 + self.random.random() / 2), self.send, request)
            return
        outcome = self.outcome
        outcome.born.append(request.born)
        outcome.spent.append(now - request.born)
        outcome.how.append(ENDS.index(how))

    # Who is asked

    def next_in_turn(self) -> Replica:
        self.turn += 1
        return self.routed[self.turn % len(self.routed)]

    def anyone(self) -> Replica:
        return self.routed[int(self.random.random() * len(self.routed))]

    def better_of_two(self) -> Replica:
        one, other = self.anyone(), self.anyone()
        return one if one.in_flight <= other.in_flight else other

    def least_busy(self) -> Replica:
        """Ask the one with the least in flight; of equal ones the next in turn."""
        self.turn += 1
        routed = self.routed
        first = self.turn % len(routed)
        best = routed[first]
        for replica in routed[first + 1 :] + routed[:first]:
            if replica.in_flight < best.in_flight:
                best = replica
        return best

    # Replicas

    def start(self, now: float, after_s: float = 0.0) -> None:
        """Begin one more; it serves once it has started."""
        self.starting += 1
        self.clock.at(now + after_s + self.plan.start_s, self.has_started, self.current)

    def has_started(self, now: float, generation: int) -> None:
        self.starting -= 1
        self.make_ready(now, generation)

    def make_ready(self, now: float, generation: int) -> None:
        variation = self.plan.costs.variation
        draw, count = self.random.random, len(variation)
        replica = Replica(
            self.clock, self.plan.costs, self.plan.policy, self.end, lambda: variation[int(draw() * count)]
        )
        self.generation[id(replica)] = generation
        self.routed.append(replica)

    def drain(self, replica: Replica) -> None:
        """Ask it no more; it goes when it has answered all."""
        self.routed.remove(replica)
        self.draining.append(replica)

    def kill(
        self, now: float, count: int, *, notice_s: float, silent: bool, replace_after_s: float | None
    ) -> None:
        """End some at once; others are started in their place.

        Silent ones are asked on for `notice_s`; of others the balancer learns by the first refusal.
        """
        self.outcome.events.append((now, f"{count} died"))
        for replica in [one for one in self.routed if one.alive][:count]:
            replica.die(now)
            if silent:
                self.silent.add(id(replica))
                self.clock.at(now + notice_s, self.notice, replica)
            if replace_after_s is not None:
                self.starting += 1
                self.clock.at(now + replace_after_s + self.plan.start_s, self.has_started, self.current)

    def notice(self, now: float, replica: Replica) -> None:
        if replica in self.routed:
            self.routed.remove(replica)

    def update(self, now: float, surge: int, unavailable: int) -> None:
        """Begin a rolling update to a new generation, as a Deployment does it."""
        self.current += 1
        self.outcome.events.append((now, "update"))
        self.go_on_updating(now, (self.current, surge, unavailable))

    def go_on_updating(self, now: float, how: tuple[int, int, int]) -> None:
        generation, surge, unavailable = how
        old = [one for one in self.routed if self.generation[id(one)] < generation]
        for replica in old[: max(0, len(self.routed) - (self.wanted - unavailable))]:
            self.drain(replica)
        new = len(self.routed) - len([one for one in self.routed if self.generation[id(one)] < generation])
        new += self.starting
        total = len(self.routed) + self.starting
        for _ in range(min(self.wanted + surge - total, self.wanted - new)):
            self.start(now)
        if any(self.generation[id(one)] < generation for one in self.routed):
            self.clock.at(now + 0.5, self.go_on_updating, how)
        else:
            self.outcome.events.append((now, "updated"))

    def scale(self, now: float, wanted: int) -> None:
        """Start or drain so many that there are `wanted`."""
        self.wanted = wanted
        have = len([one for one in self.routed if one.alive]) + self.starting
        for _ in range(wanted - have):
            self.start(now)
        for replica in self.routed[: max(0, min(have - wanted, len(self.routed) - 1))]:
            self.drain(replica)

    def every_second(self, now: float, _: Any) -> None:
        """Sample, scale, and look who has drained."""
        serving = [one for one in self.routed if one.alive]
        for replica in serving:
            replica.advance(now)
        busy = sum(one.busy_s - self.busy_before.get(id(one), 0.0) for one in serving)
        self.busy_before = {id(one): one.busy_s for one in serving}
        in_flight = sum(one.in_flight for one in serving)
        utilisation = busy / len(serving) if serving else 0.0
        self.draining = [one for one in self.draining if one.in_flight]
        self.outcome.samples.append(Sample(now, len(serving), self.starting, utilisation, in_flight))
        self.outcome.replica_s += len(serving) + self.starting + len(self.draining)
        if self.plan.autoscaler is not None:
            wanted = self.plan.autoscaler.desired(self.outcome.samples)
            if wanted != len(serving) + self.starting:
                self.scale(now, wanted)
        if now < self.plan.seconds:
            self.clock.at(now + 1.0, self.every_second)


def arrivals(rate: Rate, seconds: float, generator: np.random.Generator) -> Iterator[float]:
    """Draw the times of requests that come by chance at a rate that changes, seconds in rising order."""
    slots = np.append(np.arange(0.0, seconds - 1e-9, SLOT_S), seconds)
    for begin, end in pairwise(slots.tolist()):
        mean = rate((begin + end) / 2) * (end - begin)
        yield from np.sort(generator.uniform(begin, end, generator.poisson(mean))).tolist()
