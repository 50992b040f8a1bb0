"""What the service asks of glibc, told by the heaps that its threads then have."""

import subprocess
import sys

import pytest

PROGRAM = """
import threading
from service.__main__ import share_heaps
share_heaps()
def work():
    pieces = [bytes(100_000) for _ in range(50)]
    gate.wait()
gate = threading.Barrier(9)
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
gate.wait()
import ctypes
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's alone")
def test_threads_share_their_heaps() -> None:
    def heaps(**environment: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
        return done.stderr.count("Arena ")

    assert heaps() == 2
    assert heaps(MALLOC_ARENA_MAX="6") > 2, "whoever set it is heeded"
