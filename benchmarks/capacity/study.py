"""What the simulation says of 10,000 requests a second: how many replicas, and what befalls them.

Everything goes into studied.json. Replicas are processes with one core each; rates are Poisson processes.
"""

import math
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.capacity.autoscaling import Autoscaler, KubernetesAutoscaler, RayAutoscaler
from benchmarks.capacity.cases import MODELS
from benchmarks.capacity.costs import Costs, from_measured
from benchmarks.capacity.fleet import BALANCERS, Fleet, Outcome, Plan
from benchmarks.capacity.measure import capacity_of, described

STUDIED = Path(__file__).parent / "studied.json"
KINDS = (("small", MODELS[0]), ("small", MODELS[-1]), ("photo", MODELS[-1]))
RATE = 10_000.0
LOADS = (0.5, 0.6, 0.7, 0.8, 0.9)
LOAD = 0.6  # of what replicas can answer, where nothing else is said
WARM_UP_S = 3.0
# From the autoscaler's word to a pod that is asked: scheduled, made, started, probed. An assumption,
# for an image that is on the node; what the process itself takes is measured.
POD_S = 10.0
TRIES = 3
LOW, HIGH = 0.2, 1.0  # of the full rate: before a step of ×5 and after it; by night and by day
STEP_AT_S, STEP_TAKES_S = 60.0, 10.0
DAY_S = 1800.0  # a day, made 48 times as fast: harder for the autoscaler than the real one


Task = tuple[str, Callable[..., dict[str, Any]], tuple[Any, ...]]


def run(measured: Mapping[str, Any], *, quick: bool = False) -> dict[str, Any]:
    """Simulate everything that docs/scaling.md says, on all cores."""
    scale = 0.02 if quick else 1.0
    result: dict[str, Any] = {"rate": RATE * scale, "pod_s": POD_S, "load": LOAD, "machine": described()}
    work = tasks(quick=quick, scale=scale)
    # Not forked: wherever threads run already, a fork may hang.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [(name, pool.submit(function, measured, *given)) for name, function, given in work]
        for name, future in waiting:
            result.setdefault(name, []).append(future.result())
    return result


def tasks(*, quick: bool, scale: float) -> list[Task]:
    """List what is simulated: the part of the result it goes into, the function, what that is given."""
    kinds = KINDS[2:] if quick else KINDS
    names, shown = (SHOWN[:1], SHOWN[:1]) if quick else (tuple(SCALERS), SHOWN)
    swept = 0.2 * scale  # a fifth of the rate: less to simulate, and each replica's share is the same
    last = kinds[-1]
    work: list[Task] = [("whole_steps", step, (last, name, scale, 0.0, True)) for name in DRAWN]
    work += [("days", day, (last, name, swept / 2)) for name in shown]
    work += [("sizes", size, (kind, load, scale)) for kind in kinds for load in LOADS]
    work += [("balancers", balance, (last, name, scale)) for name in BALANCERS]
    work += [("scales", size, (last, 0.7, part * scale)) for part in (0.1, 0.3, 1.0)]
    work += [("failures", fail, (kind, how, scale)) for kind in kinds[-2:] for how in FAILURES]
    work += [("updates", update, (kind, how, scale)) for kind in kinds[-2:] for how in UPDATES]
    work += [("steps", step, (last, name, swept)) for name in names]
    return work + [("least", step, (last, DRAWN[0], swept, least)) for least in LEAST]


def known(measured: Mapping[str, Any], kind: tuple[str, str]) -> tuple[Costs, float]:
    """Give a kind's costs and what one replica answers at most, by measurement."""
    return from_measured(measured, *kind), float(capacity_of(measured, *kind)["per_core"])


def replicas_for(rate: float, capacity: float, load: float) -> int:
    """Give how many are loaded so far, or less."""
    return math.ceil(rate / (capacity * load) - 1e-9)


def head(kind: tuple[str, str], **more: Any) -> dict[str, Any]:
    return {"case": kind[0], "model": kind[1], **more}


def figures(outcome: Outcome, begin: float = WARM_UP_S, end: float = 1e18) -> dict[str, Any]:
    """Give what clients met of requests born in an interval, and how busy the replicas were."""
    p50, p99 = outcome.quantiles_ms((0.5, 0.99), begin, end)
    samples = [one for one in outcome.samples if begin <= one.at < end]
    return {
        "n": outcome.arrived,
        "p50_ms": number(p50),
        "p99_ms": number(p99),
        "refused": round(outcome.share("refused", begin, end) + outcome.share("late", begin, end), 6),
        "lost": outcome.counts()["lost"],
        "utilisation": round(sum(one.utilisation for one in samples) / max(1, len(samples)), 3),
        "in_flight": round(
            sum(one.in_flight / max(1, one.ready) for one in samples) / max(1, len(samples)), 2
        ),
    }


def size(measured: Mapping[str, Any], kind: tuple[str, str], load: float, scale: float) -> dict[str, Any]:
    """Simulate 12 s of the rate on so many replicas as are loaded so far; say how fast that was simulated."""
    costs, capacity = known(measured, kind)
    count = replicas_for(RATE * scale, capacity, load)
    began = time.perf_counter()
    outcome = Fleet(Plan(costs, lambda _: RATE * scale, 12 + WARM_UP_S, count)).run()
    speed_us = (time.perf_counter() - began) / outcome.arrived * 1e6
    row = head(kind, load=load, rate=RATE * scale, replicas=count, simulated_us_a_request=round(speed_us, 1))
    return row | figures(outcome)


def balance(measured: Mapping[str, Any], kind: tuple[str, str], name: str, scale: float) -> dict[str, Any]:
    """Simulate one way of choosing a replica."""
    costs, capacity = known(measured, kind)
    count = replicas_for(RATE * scale, capacity, 0.7)
    outcome = Fleet(Plan(costs, lambda _: RATE * scale, 12 + WARM_UP_S, count, balancer=name)).run()
    return head(kind, balancer=name, load=0.7, replicas=count) | figures(outcome)


@dataclass(frozen=True)
class Failure:
    """How replicas fail: what share (at least one), how the balancer learns of it, when others start."""

    share: float
    silent: bool
    notice_s: float
    replace_s: float
    balancer: str = "least-connections"


FAILURES = {
    # A container is started again where it was.
    "process": Failure(0.0, False, 0.0, 0.0),
    # Kubernetes' defaults: unreachable after 40 s, evicted after 300 more.
    "node, Kubernetes' defaults": Failure(0.1, True, 40.0, 300.0),
    "node, the same, connections at random": Failure(0.1, True, 40.0, 300.0, "random"),
    # A balancer that asks for health itself.
    "node, noticed in 5 s": Failure(0.1, True, 5.0, 30.0),
}


def fail(measured: Mapping[str, Any], kind: tuple[str, str], how: str, scale: float) -> dict[str, Any]:
    """Kill some and look at the 20 s that follow."""
    costs, capacity = known(measured, kind)
    count = replicas_for(RATE * scale, capacity, LOAD)
    failure = FAILURES[how]
    dead = max(1, round(failure.share * count))
    rate = RATE * scale
    plan = Plan(costs, lambda _: rate, 40.0, count, start_s=POD_S, tries=TRIES, balancer=failure.balancer)
    fleet = Fleet(plan)

    def strike(now: float, _: Any) -> None:
        how_they_go = {"notice_s": failure.notice_s, "replace_after_s": failure.replace_s}
        fleet.kill(now, dead, silent=failure.silent, **how_they_go)

    fleet.clock.at(15.0, strike)
    outcome = fleet.run()
    before = figures(outcome, WARM_UP_S, 15.0)
    after = figures(outcome, 15.0, 35.0)
    return head(kind, failure=how, replicas=count, dead=dead, before=before) | after


# Rolling updates: name -> (maxSurge, maxUnavailable), shares of the replicas.
UPDATES = {"surge 25 %, unavailable 0": (0.25, 0.0), "surge 0, unavailable 25 %": (0.0, 0.25)}


def update(measured: Mapping[str, Any], kind: tuple[str, str], how: str, scale: float) -> dict[str, Any]:
    """Replace every replica under load."""
    costs, capacity = known(measured, kind)
    count = replicas_for(RATE * scale, capacity, LOAD)
    surge, unavailable = UPDATES[how]
    # Rounded as Kubernetes does it: surge up, unavailable down; not both may be none.
    more, fewer = math.ceil(surge * count), math.floor(unavailable * count)
    fleet = Fleet(Plan(costs, lambda _: RATE * scale, 100.0, count, start_s=POD_S, tries=TRIES))
    fleet.clock.at(15.0, lambda now, _: fleet.update(now, more, fewer or (0 if more else 1)))
    outcome = fleet.run()
    took_s = next((when - 15.0 for when, what in outcome.events if what == "updated"), float("nan"))
    took = figures(outcome, 15.0, 15.0 + took_s)
    return (
        head(kind, update=how, replicas=count, took_s=round(took_s, 1), before=figures(outcome, 3.0, 15.0))
        | took
    )


# Autoscalers by name, from `least` to `most` replicas; the first is the one of deploy/kubernetes.
Make = Callable[[int, int], Autoscaler]


def on_processor(target: float, down_share: float = 0.0) -> Make:
    return lambda least, most: KubernetesAutoscaler(target, least, most, down_share=down_share)


def on_requests(target: float) -> Make:
    """Kubernetes with requests in flight a replica, from Prometheus: fresher than the processor's load."""
    return lambda least, most: KubernetesAutoscaler(
        target, least, most, metric="in_flight", lag_s=5.0, averaged_s=10.0, down_share=0.1
    )


def on_ray(target: float) -> Make:
    return lambda least, most: RayAutoscaler(target, least, most)


SCALERS: dict[str, Make] = {
    "CPU 60 %": on_processor(0.6),
    "CPU 40 %": on_processor(0.4, 0.1),
    "CPU 50 %": on_processor(0.5, 0.1),
    "CPU 60 %, down 10 %": on_processor(0.6, 0.1),
    "CPU 70 %": on_processor(0.7, 0.1),
    "CPU 80 %": on_processor(0.8, 0.1),
    "in flight 2": on_requests(2.0),
    "in flight 4": on_requests(4.0),
    "in flight 8": on_requests(8.0),
    "in flight 16": on_requests(16.0),
    "Ray, 2 ongoing": on_ray(2.0),
    "Ray, 4 ongoing": on_ray(4.0),
    "Ray, 8 ongoing": on_ray(8.0),
    "Ray, 16 ongoing": on_ray(16.0),
}
SHOWN = ("CPU 60 %", "CPU 60 %, down 10 %", "in flight 4", "Ray, 4 ongoing", "Ray, 16 ongoing")
DRAWN = SHOWN[1], SHOWN[2]
LEAST = (0.2, 0.4, 0.6, 0.8)  # of the replicas that the full load needs, kept at any time


def scaled(
    measured: Mapping[str, Any],
    kind: tuple[str, str],
    name: str,
    rate: Callable[[float], float],
    full: float,
    seconds: float,
    least: float = 0.0,
) -> Outcome:
    """Simulate an autoscaler, from the number of replicas that its first load needs, or the least."""
    costs, capacity = known(measured, kind)
    enough = replicas_for(full, capacity, LOAD)
    fewest = max(2, math.ceil(least * enough))
    first = max(fewest, replicas_for(rate(0.0), capacity, LOAD))
    scaler = SCALERS[name](fewest, 3 * enough)
    plan = Plan(costs, rate, seconds, first, start_s=POD_S, tries=TRIES, autoscaler=scaler)
    return Fleet(plan).run()


def step(
    measured: Mapping[str, Any],
    kind: tuple[str, str],
    name: str,
    scale: float,
    least: float = 0.0,
    series: bool = False,
) -> dict[str, Any]:
    """Raise the load fivefold within 10 s, and look at the two minutes that follow and at what is paid."""
    full = RATE * scale

    def rate(at: float) -> float:
        risen = min(1.0, max(0.0, (at - STEP_AT_S) / STEP_TAKES_S))
        return full * (LOW + (HIGH - LOW) * risen)

    outcome = scaled(measured, kind, name, rate, full, 240.0, least)
    after = figures(outcome, STEP_AT_S, STEP_AT_S + 120)
    settled = figures(outcome, 180.0, 240.0)
    row = head(kind, autoscaler=name, rate=full, least=least, settled=settled) | after
    row["well_after_s"] = well_after(outcome)
    row |= {"replicas": outcome.samples[-1].ready, "most": max(one.ready for one in outcome.samples)}
    if series:
        row["series"] = [
            {
                "at": second,
                "rate": round(rate(second)),
                "replicas": outcome.samples[second].ready,
                "p99_ms": number(outcome.quantiles_ms((0.99,), second, second + 2)[0]),
            }
            for second in range(0, 238, 2)
        ]
    return row


def number(value: float) -> float | None:
    """Round; None where there is none."""
    return None if math.isnan(value) else round(value, 1)


def well_after(outcome: Outcome, within_ms: float = 200.0) -> float | None:
    """Say how long after the step began all 5 s have a p99 within a limit and no refusal; None: never."""
    last = None
    for begin in range(int(STEP_AT_S), 240, 5):
        p99 = outcome.quantiles_ms((0.99,), begin, begin + 5)[0]
        refused = outcome.share("refused", begin, begin + 5) + outcome.share("late", begin, begin + 5)
        if not p99 <= within_ms or refused:
            last = begin + 5 - STEP_AT_S
    return 0.0 if last is None else None if last > 175 else last


def day(measured: Mapping[str, Any], kind: tuple[str, str], name: str, scale: float) -> dict[str, Any]:
    """Let a day pass in an hour: by night a fifth of the load, with a swing of a cosine."""
    full = RATE * scale

    def rate(at: float) -> float:
        return full * (LOW + (HIGH - LOW) * (1 - math.cos(2 * math.pi * at / DAY_S)) / 2)

    outcome = scaled(measured, kind, name, rate, full, DAY_S)
    _, capacity = known(measured, kind)
    always = replicas_for(full, capacity, LOAD) * DAY_S
    sizes = [one.ready for one in outcome.samples]
    changes = sum(1 for one, following in pairwise(sizes) if one != following)
    row = head(kind, autoscaler=name, rate=full, least=min(sizes), most=max(sizes), changes=changes)
    return row | {"paid": round(outcome.replica_s / always, 3)} | figures(outcome, 60.0)
