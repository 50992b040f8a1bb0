"""What a server holds: memory, open files, threads, of all its processes; and whether that grows.

Growth is told by the memory that is the server's own. The pages of libraries are shared with whatever else
on the machine uses torch, and the server's part of them changes as such programs come and go: by 90 MiB here.
"""

import contextlib
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Footprint:
    """One look at all processes of a server."""

    memory_mib: float  # proportional set sizes: pages that are shared count once
    own_mib: float  # of those, what is no file's page
    files: int
    threads: int
    processes: int


def look(processes: Iterable[int]) -> Footprint:
    """Add up what the processes hold now."""
    files = threads = count = 0
    memory_kib: Counter[str] = Counter()
    for pid in processes:
        with contextlib.suppress(OSError):  # gone meanwhile
            files += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            threads += sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, kib, *_ = line.split()
                memory_kib[name] += int(kib)
            count += 1
    own_kib = memory_kib["Pss_Anon:"] + memory_kib["Pss_Shmem:"]
    return Footprint(memory_kib["Pss:"] / 1024, own_kib / 1024, files, threads, count)


def growth(values: Sequence[float], warm_up: float = 0.1) -> float:
    """Say by which share the last tenth lies over the first after the warm-up, by medians: 0.02 is 2 %."""
    steady = values[round(len(values) * warm_up) :]
    tenth = max(1, len(steady) // 10)
    first = statistics.median(steady[:tenth])
    return (statistics.median(steady[-tenth:]) - first) / first


def slope(values: Sequence[float], warm_up: float = 0.1) -> float:
    """The same by a straight line fitted to all values after the warm-up: its rise over its whole length."""
    steady = values[round(len(values) * warm_up) :]
    if len(steady) < 2:
        return 0.0
    fitted = statistics.linear_regression(range(len(steady)), steady)
    return fitted.slope * (len(steady) - 1) / fitted.intercept
