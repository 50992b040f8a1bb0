"""Start the service as it should not be started: under a limit, with a full log, with a sick model."""

import contextlib
import http.client
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reliability.server import is_ready
from benchmarks.serving.environments import REPOSITORY
from benchmarks.serving.process import Server, free_ports, running


@contextlib.contextmanager
def launched(script: str = "", workers: int = 1, **settings: str) -> Iterator[Server]:
    """Run the service after a line of shell, `ulimit -n 64` say; ready when the block begins."""
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "service", "--port", str(port), "--workers", str(workers)]
    environment = {
        "STRIDE_MODELS_DIR": str(REPOSITORY / "models"),
        "STRIDE_DRAIN_S": "0",
        "PYTHONPATH": str(REPOSITORY),
        **settings,
    }
    wrapped = ["sh", "-c", f'{script}\nexec "$@"', "sh", *command] if script else command
    with tempfile.TemporaryDirectory(prefix="reliability-") as name:
        folder = Path(name)
        with running(wrapped, environment, port, folder, folder / "service.log") as server:
            server.wait(is_ready)
            yield server


def status(port: int, path: str, timeout_s: float = 10) -> int:
    """Ask once; 0 where there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def children(pid: int) -> list[int]:
    """List the processes that serve, of several: those the first has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def processor_s(pid: int) -> float:
    """Give the processor time a process has used, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def raise_open_files() -> int:
    """Allow this process as many open files as it may have; returns how many that is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def ports_of(pid: int, port: int) -> set[int]:
    """List the clients' ports of the connections that a process holds."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].partition(":")[2], 16) == port and fields[9] in inodes:
            found.add(int(fields[2].partition(":")[2], 16))
    return found
