"""A server as a group of processes: started, waited for, weighed and ended."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

MARK = "BENCHMARK_RUN"  # in the environment of all it starts; some servers leave the process group
START_LIMIT_S, STOP_LIMIT_S = 120, 15


class Failed(Exception):
    """A server that did not start, or not answer; the sentence says why."""


class Server:
    """A running server: its port, its processes and how long it took to answer."""

    def __init__(self, popen: "subprocess.Popen[bytes]", mark: str, port: int, log: Path) -> None:
        self.popen, self.mark, self.port, self.log = popen, mark, port, log
        self.began = time.perf_counter()
        self.start_s = 0.0

    def wait(self, answers: Callable[[int], bool], pause_s: float = 0.02) -> None:
        """Wait for the first answer as it should be."""
        while not answers(self.port):
            if self.popen.poll() is not None:
                raise Failed(f"ended while starting: {last_words(self.log)}")
            if time.perf_counter() - self.began > START_LIMIT_S:
                raise Failed(f"no right answer in {START_LIMIT_S} s: {last_words(self.log)}")
            time.sleep(pause_s)
        self.start_s = time.perf_counter() - self.began

    def memory_mib(self) -> float:
        """Sum the proportional set sizes of all its processes: shared pages count once."""
        return sum(proportional_kib(pid) for pid in self.processes()) / 1024

    def processes(self) -> set[int]:
        """List its living processes."""
        return family(self.popen.pid, self.mark)

    def stop(self) -> None:
        """Ask it to end, and see to it that every process has."""
        known = self.processes()
        with contextlib.suppress(ProcessLookupError):
            self.popen.terminate()
        ends = time.perf_counter() + STOP_LIMIT_S
        while (self.processes() or alive(known)) and time.perf_counter() < ends:
            self.popen.poll()
            time.sleep(0.1)
        for pid in self.processes() | alive(known):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.popen.wait()


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], port: int, folder: Path, log: Path
) -> Iterator[Server]:
    """Run a server in `folder`, its output in `log`; end it whatever happens."""
    mark = uuid.uuid4().hex
    kept = {k: v for k, v in os.environ.items() if not k.startswith("STRIDE_")}
    with log.open("wb") as output:
        popen = subprocess.Popen(
            command,
            cwd=folder,
            env={**kept, **environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(popen, mark, port, log)
    try:
        yield server
    finally:
        server.stop()


def free_ports(count: int) -> list[int]:
    """Find ports of 127.0.0.1 that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def family(root: int, mark: str) -> set[int]:
    """List the living processes of a server: its session, those that carry its mark, and their children.

    One of the three would not do: some servers give their workers sessions of their own, and some
    write their names over their environment.
    """
    parents: dict[int, int] = {}
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z":
                continue
            pid = int(folder.name)
            parents[pid] = int(fields[1])
            if int(fields[3]) == root or f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.add(pid)
    while children := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= children
    return found


def alive(pids: set[int]) -> set[int]:
    """Keep those processes that have not ended."""
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    living = set()
    for pid, path in states.items():
        with contextlib.suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[0] != "Z":
                living.add(pid)
    return living


def proportional_kib(pid: int) -> int:
    """Read a process's proportional set size."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def last_words(log: Path) -> str:
    """Give the last line of a log, for a sentence."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip()[:200] if lines else "nothing in its log"
