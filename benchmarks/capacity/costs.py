"""What the simulation takes a request to cost: read from measured.json, service times and nothing else."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.capacity.cases import Unknown

CROWD = 64  # connections at which a core is full


@dataclass(frozen=True)
class Costs:
    """A kind of request on one process with one core; times in seconds of that core.

    `batch_s` is what a batch takes by its size, straight lines between; `decode_s` is spent on a worker's
    thread, before the queue; `loop_s` on the event loop, half before and half after the model, and
    `turn_s` once a batch. `transit_s` is waited and costs nothing: wakes, the network of the machine.
    `variation`: equally likely multiples of a piece of work's mean; their mean is 1.
    """

    loop_s: float
    turn_s: float
    decode_s: float
    batch_s: tuple[tuple[float, float], ...]
    transit_s: float = 0.0
    variation: tuple[float, ...] = (1.0,)

    def batch(self, size: float) -> float:
        """Give what a batch of so many takes, seconds."""
        points = self.batch_s
        if len(points) == 1:
            return points[0][1] * size / points[0][0]
        last = min(max(1, bisect_right(points, (size, float("inf")))), len(points) - 1)
        (small, quick), (large, slow) = points[last - 1], points[last]
        return quick + (slow - quick) * (size - small) / (large - small)

    def core_s(self, size: int) -> float:
        """Give what one request takes of a core in batches of so many."""
        return self.loop_s + self.decode_s + (self.turn_s + self.batch(size)) / size


def from_measured(measured: Mapping[str, Any], case: str, model: str) -> Costs:
    """Read a case's costs. Raises Unknown where it was not measured step by step."""
    rows = [row for row in measured["steps"] if (row["case"], row["model"]) == (case, model)]
    if not rows:
        known = sorted({f"{row['case']} with {row['model']}" for row in measured["steps"]})
        raise Unknown(f"no service times of {case} with {model}; measured are {', '.join(known)}")
    loop_s, turn_s = fit_loop(rows)
    alone = min(rows, key=lambda row: row["connections"])
    kind = "pixels" if alone["workers_us"] > alone["model_us"] / 10 else "files"
    return Costs(
        loop_s=loop_s,
        turn_s=turn_s,
        decode_s=mean(row["workers_us"] for row in rows) / 1e6 if kind == "pixels" else 0.0,
        batch_s=batch_times(rows, measured["batches"][model][kind]),
        transit_s=max(0.0, alone["p50_ms"] / 1e3 - alone["all_us"] / 1e6),
        variation=variation(measured["batches"][model][kind]["1"]["quantiles"]),
    )


def fit_loop(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Part the loop's time into what a request takes and what a batch takes, by least squares; seconds."""
    inverse = [1 / max(1.0, row["pictures_a_batch"]) for row in rows]
    spent = [row["loop_us"] / 1e6 for row in rows]
    middle, level = mean(inverse), mean(spent)
    across = sum((x - middle) ** 2 for x in inverse)
    if across < 0.05:  # all batches alike: photos
        return level, 0.0
    slope = sum((x - middle) * (y - level) for x, y in zip(inverse, spent, strict=True)) / across
    slope = min(max(0.0, slope), level)
    return max(level - slope * middle, 0.0), slope


def batch_times(
    rows: Sequence[Mapping[str, Any]], alone: Mapping[str, Mapping[str, float]]
) -> tuple[tuple[float, float], ...]:
    """Give a batch's time by its size, seconds: the curve of `alone`, as high as batches were in the service.

    `alone`: the mean by size in a process that does nothing else. In the service the same work takes longer,
    for threads and caches are changed between; the factor is the mean over all loads, each counting once.
    """
    shape = Costs(0, 0, 0, tuple((float(size), found["mean_us"] / 1e6) for size, found in alone.items()))
    sizes = [max(1.0, row["pictures_a_batch"]) for row in rows]
    factors = [
        row["model_us"] / 1e6 * size / shape.batch(size) for row, size in zip(rows, sizes, strict=True)
    ]
    factor = mean(factors)
    return tuple((size, spent * factor) for size, spent in shape.batch_s)


def variation(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Scale quantiles so that their mean is 1."""
    level = mean(quantiles)
    return tuple(value / level for value in quantiles)


def mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
