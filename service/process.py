"""What a server wants of its system: standard files, enough open files, few heaps."""

import contextlib
import ctypes
import os
import sys

M_ARENA_MAX = -8  # of malloc.h
HEAPS = 2


def fill_standard_files() -> None:
    """Open what was closed of the standard files: a connection would get the log's number, and its lines."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def raise_open_files() -> None:
    """Allow as many open files as this process may allow itself: each connection is one."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  (not on every system)

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def share_heaps() -> None:
    """Have glibc share a few heaps among all threads: of one each, every one grows to its own highest need.

    In a soak of 100,000 mixed requests that made 2.6 % (docs/reliability.md). MALLOC_ARENA_MAX wins.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc alone has it
        if mallopt is not None:
            mallopt(M_ARENA_MAX, HEAPS)
