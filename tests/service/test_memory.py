"""Memory that is free goes back to the system."""

import asyncio
import sys

import numpy as np
import pytest

from service.memory import Trimmer, resident_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's alone")


def test_free_memory_goes_back_once_the_process_has_grown() -> None:
    trimmer = Trimmer(every_s=0)
    before = resident_bytes()
    # Too small to be mappings of their own; the last one keeps glibc from giving back the end of its heap.
    pieces = [np.ones(1000) for _ in range(8000)]
    last = pieces[-1]
    pieces.clear()
    assert resident_bytes() - before > 40 * 2**20
    asyncio.run(trimmer.follow())
    assert resident_bytes() - before < 20 * 2**20
    assert last.sum() == 1000


def test_a_process_that_has_not_grown_is_left_alone() -> None:
    calls: list[int] = []

    def trim(pad: int) -> int:
        calls.append(pad)
        return 0

    trimmer = Trimmer(every_s=0, trim=trim)
    asyncio.run(trimmer.follow())
    assert not calls
    trimmer.resident = 0
    asyncio.run(trimmer.follow())
    assert calls == [0]
    trimmer = Trimmer(every_s=60, trim=trim)
    trimmer.resident = 0
    asyncio.run(trimmer.follow())
    assert calls == [0], "not yet"
