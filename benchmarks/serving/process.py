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

    def wait(self, answers: Callable[[int], bool]) -> None:
        """Wait for the first answer as it should be."""
        while not answers(self.port):
            if self.popen.poll() is not None:
                raise Failed(f"ended while starting: {last_words(self.log)}")
            if time.perf_counter() - self.began > START_LIMIT_S:
                raise Failed(f"no right answer in {START_LIMIT_S} s: {last_words(self.log)}")
            time.sleep(0.02)
        self.start_s = time.perf_counter() - self.began

    def memory_mib(self) -> float:
        """Sum the proportional set sizes of all its processes: shared pages count once."""
        return sum(proportional_kib(pid) for pid in marked(self.mark)) / 1024

    def stop(self) -> None:
        """Ask it to end, and see to it that every process has."""
        with contextlib.suppress(ProcessLookupError):
            self.popen.terminate()
        ends = time.perf_counter() + STOP_LIMIT_S
        while marked(self.mark) and time.perf_counter() < ends:
            self.popen.poll()
            time.sleep(0.1)
        for pid in marked(self.mark):
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


def marked(mark: str) -> list[int]:
    """List the living processes that carry a mark in their environment."""
    entry = f"{MARK}={mark}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if entry in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


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
