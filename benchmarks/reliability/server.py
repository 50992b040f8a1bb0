"""Run the service as an operator does, with settings of one's own."""

import contextlib
import http.client
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.serving.environments import REPOSITORY
from benchmarks.serving.process import Server, free_ports, running


@contextlib.contextmanager
def serving(workers: int = 2, **settings: str) -> Iterator[Server]:
    """Serve the committed models until the block ends, ready when it begins; settings by their names."""
    port = free_ports(1)[0]
    environment = {
        "STRIDE_MODELS_DIR": str(REPOSITORY / "models"),
        "STRIDE_DRAIN_S": "0",
        "PYTHONPATH": str(REPOSITORY),
        **settings,
    }
    command = [sys.executable, "-m", "service", "--port", str(port), "--workers", str(workers)]
    with tempfile.TemporaryDirectory(prefix="reliability-") as name:
        folder = Path(name)
        with running(command, environment, port, folder, folder / "service.log") as server:
            server.wait(is_ready)
            yield server


def is_ready(port: int) -> bool:
    """Ask whether requests may be sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
