"""How many replicas a load needs, with what memory and settings, and what a million predictions cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.capacity.cases import CASES, check_model, find
from benchmarks.capacity.measure import capacity_of

# Of what a replica can answer. By the simulation p99 stays low, and one of ten may be lost.
LOAD = 0.6
SPARE = 1  # beyond that, for one that dies or is replaced
HEADROOM = 1.5  # of the memory measured after load: large pictures and matrices come on top
MILLION, HOUR_S = 1_000_000, 3600


@dataclass(frozen=True)
class Sizing:
    """What a load needs; one replica is one process with one core."""

    rate: float
    capacity: float  # requests a second that one replica answers at most, measured
    replicas: int
    memory_mib: int  # of each, to be asked for
    most: int

    @property
    def load(self) -> float:
        """How much of what they can answer is asked of them."""
        return self.rate / (self.replicas * self.capacity)


def sizing(measured: Mapping[str, Any], rate: float, payload: str, model: str, load: float = LOAD) -> Sizing:
    """Size a deployment. Raises Unknown for an unknown payload or model, ValueError for a bad number."""
    if not 0 < rate < math.inf:
        raise ValueError(f"the rate must be above 0 requests a second; got {rate:g}")
    if not 0 < load <= 1:
        raise ValueError(f"the load must be above 0 and at most 1; got {load:g}")
    found = capacity_of(measured, find(payload).name, check_model(model))
    capacity = float(found["per_core"])
    replicas = max(2, math.ceil(rate / (capacity * load) - 1e-9) + SPARE)
    return Sizing(rate, capacity, replicas, replica_mib(measured), 2 * replicas)


def replica_mib(measured: Mapping[str, Any]) -> int:
    """Give the memory a replica should be given, MiB, in steps of 128."""
    one = measured["memory"]["one"]
    return math.ceil(float(one["loaded_mib"] + one["files_mib"]) * HEADROOM / 128) * 128


def describe(measured: Mapping[str, Any], sized: Sizing, payload: str, model: str) -> str:
    """Write a sizing with the settings that follow from it."""
    case, start = find(payload), measured["start"]
    served = f" with {model}" if case.has_model else ""
    wait_s = 256 / sized.capacity * case.pictures
    about = measured["machine"]
    batch = capacity_of(measured, case.name, model)["pictures_a_batch"]
    # Where batches pay, a core is busy at half of its load already: its use says little.
    signal = f"CPU {LOAD:.0%}" if batch < 4 else "2 to 4 requests in flight a replica, not CPU"
    return "\n".join(
        [
            f"{sized.rate:,.0f} requests/s of {case.label.replace('`', '')}{served}",
            f"  one core answers       {sized.capacity:,.0f} a second (measured: {about['processor']})",
            f"  replicas               {sized.replicas}, one core each: {sized.load:.0%} loaded,"
            f" {SPARE} to spare",
            f"  memory                 {sized.memory_mib:,} MiB each,"
            f" {sized.memory_mib * sized.replicas / 1024:,.0f} GiB in all",
            f"  a replica starts in    {start['warm_s']['median']:.1f} s of a core,"
            f" {start['cold_s']['median']:.1f} s where torch is not in the page cache",
            f"  autoscaler             {signal}; minReplicas {max(2, math.ceil(sized.replicas * 0.6))},"
            f" maxReplicas {sized.most}",
            f"  STRIDE_QUEUE_LENGTH    256: the longest wait is then about {wait_s:.2f} s",
            "  STRIDE_THREADS         1 (follows the processors' limit)",
        ]
    )


def cost_per_million(
    measured: Mapping[str, Any],
    payload: str,
    model: str,
    core_hour: float,
    load: float = LOAD,
    watts: float = 0.0,
    kilowatt_hour: float = 0.0,
) -> float:
    """Give what a million predictions cost, in the money of `core_hour`: what a core is rented for an hour.

    Core-hours = million / (pictures a second of a core × load) / 3600. `watts` a core and `kilowatt_hour`,
    the price of electricity, come on top where machines are one's own. Raises ValueError for a bad number.
    """
    for name, value in (("core-hour", core_hour), ("watts", watts), ("kilowatt-hour", kilowatt_hour)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be 0 or more; got {value:g}")
    if not 0 < load <= 1:
        raise ValueError(f"the load must be above 0 and at most 1; got {load:g}")
    found = capacity_of(measured, find(payload).name, check_model(model))
    hours = MILLION / (found["per_core"] * found["pictures"] * load) / HOUR_S
    return float(hours * (core_hour + watts / 1000 * kilowatt_hour))


def price_list(
    measured: Mapping[str, Any], core_hour: float, load: float, watts: float, kilowatt_hour: float
) -> str:
    """Write the cost of each case with each model."""
    extra = f" and {watts:g} W a core at {kilowatt_hour:g} a kWh" if watts and kilowatt_hour else ""
    lines = [f"a million predictions at {core_hour:g} a core-hour{extra}, cores {load:.0%} loaded"]
    for row in measured["throughput"]:
        case = find(row["case"])
        model = row["model"] or measured["throughput"][0]["model"]
        price = cost_per_million(measured, case.name, model, core_hour, load, watts, kilowatt_hour)
        served = row["model"] or ""
        lines.append(f"  {case.name:14} {served:16} {price:10.4f}")
    return "\n".join(lines)


def payload_names() -> str:
    return ", ".join(case.name for case in CASES)
