"""What a replica needs before and beside its answers: memory, and time to start."""

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.capacity.cases import MODELS, find
from benchmarks.capacity.pinned import SERVICE_CORE, drive, serving
from benchmarks.serving.environments import REPOSITORY

LOADS = ("small", "photo", "large-array")
# The steps of a start, each timed from the one before. `service.shelf` loads the same way.
STEPS = """
import time; clock = [time.perf_counter()]
def step(): clock.append(time.perf_counter())
import torch; step()
import service.app, service.shelf, service.connections, uvicorn; step()
from service.settings import load_settings
settings = load_settings(); torch.set_num_threads(1)
service.shelf.load_warm(settings); step()
print(*(b - a for a, b in zip(clock, clock[1:])))
"""
NAMES = ("Python itself", "import torch", "import the rest", "load, check, warm two models")


def memory(seconds: int) -> dict[str, Any]:
    """Weigh one process and two, ready and after load, MiB: their own memory, and pages of files."""
    return {"one": weigh(1, seconds), "two": weigh(2, seconds)}


def weigh(workers: int, seconds: int) -> dict[str, float]:
    """Start so many processes, load them, weigh them before and after."""
    with serving(workers=workers) as server:
        ready, files = weights_mib(server.processes())
        for model in MODELS:
            for name in LOADS:
                drive(server.port, find(name), model, 32, seconds)
        time.sleep(1)
        loaded, files = weights_mib(server.processes())
    return {"ready_mib": ready, "loaded_mib": loaded, "files_mib": files}


def weights_mib(processes: set[int]) -> tuple[float, float]:
    """Sum what processes have to themselves or among each other, and the most any has of files' pages.

    Proportional set size would not do: libraries' pages are shared with whatever other programs map them.
    """
    own_kib, files_kib = 0, 0
    for pid in processes:
        with contextlib.suppress(OSError):
            fields = rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())
            own_kib += fields["Pss_Anon"] + fields["Pss_Shmem"]
            files_kib = max(files_kib, fields["Rss"] - fields["Anonymous"])
    return round(own_kib / 1024, 1), round(files_kib / 1024, 1)


def rollup(text: str) -> dict[str, int]:
    """Read a smaps_rollup: KiB by name."""
    lines = (line.split() for line in text.splitlines()[1:])
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[-1] == "kB"}


def starts(count: int) -> dict[str, Any]:
    """Time starts on one core, from the command to `/health/ready`, seconds: warm, and torch uncached."""
    ready_s()
    warm, spent = zip(*(ready_s() for _ in range(count)), strict=True)
    steps = [steps_s() for _ in range(count)]
    with uncached_torch() as (evict, folder):
        cold = []
        for _ in range(min(3, count)):
            evict()
            cold.append(ready_s(f"{folder}{os.pathsep}{REPOSITORY}")[0])
    columns = dict(zip(NAMES, zip(*steps, strict=True), strict=True))
    return {
        "warm_s": figures(warm),
        "core_s": figures(spent),
        "cold_s": figures(cold),
        "steps_s": {name: figures(times) for name, times in columns.items()},
    }


def figures(times: Sequence[float]) -> dict[str, Any]:
    """Give median, deviation and n."""
    deviation = statistics.stdev(times) if len(times) > 1 else 0.0
    return {"median": round(statistics.median(times), 3), "deviation": round(deviation, 3), "n": len(times)}


def ready_s(path: str = str(REPOSITORY)) -> tuple[float, float]:
    """Time one start: seconds, and how many of them it had the core."""
    with serving(PYTHONPATH=path) as server:
        tasks = Path(f"/proc/{server.popen.pid}/task").glob("*/schedstat")
        spent_s = sum(int(task.read_text().split()[0]) for task in tasks) / 1e9
        return server.start_s, spent_s


def steps_s() -> list[float]:
    """Time one start step by step: Python, torch, the rest, the models."""
    command = ["taskset", "--cpu-list", str(SERVICE_CORE), sys.executable, "-c"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    began = time.perf_counter()
    subprocess.run([*command, "pass"], check=True, env=environment)
    bare = time.perf_counter() - began
    done = subprocess.run(
        [*command, STEPS], check=True, env=environment, cwd=REPOSITORY, capture_output=True, text=True
    )
    return [bare, *map(float, done.stdout.split())]


@contextlib.contextmanager
def uncached_torch() -> Iterator[tuple[Callable[[], None], Path]]:
    """Copy torch, the greatest part of what a start reads, and give what takes it out of the page cache.

    The installed one stays cached where another program has it mapped.
    """
    import torch  # noqa: PLC0415  (only for where it is)

    source = Path(torch.__file__).parent
    with tempfile.TemporaryDirectory(prefix="capacity-torch-", dir=REPOSITORY / "build") as name:
        folder = Path(name)
        left_out = shutil.ignore_patterns("include", "test", "share")
        shutil.copytree(source, folder / "torch", ignore=left_out)
        files = [path for path in (folder / "torch").rglob("*") if path.is_file()]

        def evict() -> None:
            for path in files:
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)  # only clean pages can go
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)

        yield evict, folder
