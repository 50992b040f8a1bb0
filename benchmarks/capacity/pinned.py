"""A service on one core and its load on another, and what each of its threads spends of that core."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.capacity.cases import Case, find
from benchmarks.reliability.server import is_ready
from benchmarks.serving import load
from benchmarks.serving.environments import REPOSITORY
from benchmarks.serving.process import Server, free_ports, running

# Two cores that share nothing but the machine; a machine of one core cannot measure this.
SERVICE_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True)
class Spent:
    """Processor time by thread since the process began, seconds, and of all on its core; batches; when."""

    at: float
    core_s: float
    threads: Mapping[int, float]
    batches: float
    pictures: float

    def since(self, before: "Spent") -> "Spent":
        """Give what was spent from `before` on; `at` is then the seconds between."""
        spent = {thread: total - before.threads.get(thread, 0.0) for thread, total in self.threads.items()}
        return Spent(
            self.at - before.at,
            self.core_s - before.core_s,
            spent,
            self.batches - before.batches,
            self.pictures - before.pictures,
        )

    def others(self, seconds: float) -> float:
        """Give what share of so many seconds, and of the moments around them, other programs had the core."""
        return round(max(0.0, self.core_s - sum(self.threads.values())) / seconds, 4)


@dataclass(frozen=True)
class Cost:
    """What requests cost, microseconds of a core each, by the thread that does it."""

    requests: int
    loop_us: float  # the event loop: HTTP, forms, answers
    model_us: float  # the model's thread: small pictures decoded, the network
    workers_us: float  # decoding and matrices
    pictures_a_batch: float
    core_share: float  # how much of the core the process had
    others: float  # how much of it other programs had meanwhile

    @property
    def all_us(self) -> float:
        return self.loop_us + self.model_us + self.workers_us


class Pinned:
    """A service with one process and one thread on one core."""

    def __init__(self, server: Server, model: str) -> None:
        self.server = server
        self.pid = server.popen.pid
        self.port = server.port
        self.model = model
        self.last: Spent | None = None
        self.model_thread = self.find_model_thread()

    def find_model_thread(self) -> int:
        """Find the thread that a crowd of small pictures keeps busy: threads bear no names."""
        self.press(find("small"), 16, 1)
        before = self.spent()
        self.press(find("small"), 16, 2)
        spent = self.spent().since(before).threads
        return max((thread for thread in spent if thread != self.pid), key=lambda thread: spent[thread])

    def press(self, case: Case, connections: int, seconds: int) -> load.Load:
        """Drive a closed loop of wrk from the other core. Raises RuntimeError where an answer is not 2xx."""
        self.last = None
        done = drive(self.port, case, self.model, connections, seconds)
        if done.errors:
            raise RuntimeError(f"{case.name}: {done.errors} of {done.requests} requests failed")
        return done

    def cost(self, case: Case, connections: int, seconds: int) -> tuple[load.Load, Cost]:
        """Drive a closed loop and say what a request costs. What the last one read is where this begins."""
        before = self.last or self.spent()
        done = self.press(case, connections, seconds)
        self.last = self.spent()
        spent = self.last.since(before)
        each = {thread: total / done.requests * 1e6 for thread, total in spent.threads.items()}
        loop, model = each.pop(self.pid), each.pop(self.model_thread)
        cost = Cost(
            done.requests,
            round(loop, 2),
            round(model, 2),
            round(sum(each.values()), 2),
            round(spent.pictures / spent.batches, 3) if spent.batches else 0.0,
            round(sum(spent.threads.values()) / done.seconds, 4),
            spent.others(done.seconds),
        )
        return done, cost

    def spent(self) -> Spent:
        """Read the threads' processor time, nanoseconds in the kernel, and the service's own count."""
        tasks = Path(f"/proc/{self.pid}/task")
        threads = {}
        for folder in tasks.iterdir():
            with contextlib.suppress(OSError):  # ended meanwhile
                threads[int(folder.name)] = int((folder / "schedstat").read_text().split()[0]) / 1e9
        batches, pictures = batches_so_far(self.port, self.model)
        return Spent(time.perf_counter(), core_busy_s(), threads, batches, pictures)


def core_busy_s() -> float:
    """Read how long the service's core has been busy with anything, the hypervisor's share included."""
    name = f"cpu{SERVICE_CORE} "
    line = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith(name))
    user, nice, system, _, _, *interrupts_and_stolen = map(int, line.split()[1:9])
    return (user + nice + system + sum(interrupts_and_stolen)) / os.sysconf("SC_CLK_TCK")


def batches_so_far(port: int, model: str) -> tuple[float, float]:
    """Ask for batches and pictures a model has had; counts are handed over once a second."""
    time.sleep(1.1)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    found = {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines)
        if name.startswith("stride_batch_size_") and f'model="{model}"' in name
    }
    named = {name.partition("{")[0]: value for name, value in found.items() if "bucket" not in name}
    return named.get("stride_batch_size_count", 0.0), named.get("stride_batch_size_sum", 0.0)


@contextlib.contextmanager
def serving(*, workers: int = 1, cores: str = str(SERVICE_CORE), **settings: str) -> Iterator[Server]:
    """Serve the committed models on the given cores until the block ends; ready when it begins."""
    port = free_ports(1)[0]
    environment = {
        "STRIDE_MODELS_DIR": str(REPOSITORY / "models"),
        "STRIDE_DRAIN_S": "0",
        "PYTHONPATH": str(REPOSITORY),
        **settings,
    }
    command = ["taskset", "--cpu-list", cores, sys.executable, "-m", "service"]
    command += ["--port", str(port), "--workers", str(workers)]
    with tempfile.TemporaryDirectory(prefix="capacity-") as name:
        folder = Path(name)
        with running(command, environment, port, folder, folder / "service.log") as server:
            server.wait(is_ready, pause_s=0.005)
            yield server


def drive(port: int, case: Case, model: str, connections: int, seconds: int) -> load.Load:
    """Post a case's body over and over on so many connections with wrk on its own core."""
    body = case.body()
    with tempfile.TemporaryDirectory() as folder:
        payload, script = Path(folder, "body"), Path(folder, "load.lua")
        payload.write_bytes(body.data)
        headers = [f'wrk.headers["{name}"] = "{value}"' for name, value in case.headers.items()]
        script.write_text("\n".join([load.lua(body.content_type, payload, count_statuses=False), *headers]))
        command = ["taskset", "--cpu-list", str(LOAD_CORE), "wrk", "--threads", "1"]
        command += ["--connections", str(connections), "--duration", f"{seconds}s"]
        command += ["--timeout", f"{load.TIMEOUT_S}s", "--script", str(script)]
        command.append(f"{load.ADDRESS}:{port}{case.path_for(model)}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 2 * load.TIMEOUT_S)
    return load.read_report(done.stdout, connections)


def enough_cores() -> bool:
    """Say whether there is a core for the service and one for its load."""
    return len(os.sched_getaffinity(0)) >= 2


def as_figures(done: load.Load, cost: Cost) -> dict[str, float]:
    """Put a load and its cost into one row of plain figures."""
    row = {"per_second": round(done.per_second, 1), "p50_ms": done.p50_ms, "p99_ms": done.p99_ms}
    return row | asdict(cost) | {"all_us": round(cost.all_us, 2)}
