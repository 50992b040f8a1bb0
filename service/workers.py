"""Run blocking work off the event loop, on a few threads, with only so much of it waiting."""

import asyncio
import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from service.batching import NEWEST, seconds_to_come_again
from service.errors import QueueFull, ShuttingDown, WaitedTooLong

P = ParamSpec("P")
R = TypeVar("R")

# How far large work stands back on busy cores: a tenth of the share of a thread that does not.
NICENESS = 10


class Workers:
    """Thread pools whose queue has an end: decoding and convolution cost milliseconds to seconds each.

    What is large runs on threads of its own that stand back behind everything else, so that one
    client's photos of 12 megapixels hold nobody up who asks for little.
    """

    def __init__(self, threads: int, queue_length: int, max_wait_s: float = math.inf) -> None:
        self.threads = threads
        self.queue_length = queue_length
        self.max_wait_s = max_wait_s
        self.capacity = threads + queue_length
        self.pending = 0
        self.running = 0  # of those; counted on the threads
        self.lock = threading.Lock()
        self.pace_s = 0.0  # a call, a mean of the last ones
        self.closed = False
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
        self.patient = ThreadPoolExecutor(threads, thread_name_prefix="patient", initializer=stand_back)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` on a thread and return what it returns.

        Raises QueueFull, ShuttingDown, WaitedTooLong where no thread came to it in time. A caller that is
        cancelled before that takes its work away.
        """
        return await self.run_on(self.pool, function, *args, **kwargs)

    async def run_large(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` as `run` does, behind whatever is small."""
        return await self.run_on(self.patient, function, *args, **kwargs)

    async def run_on(
        self, pool: ThreadPoolExecutor, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        if self.closed:
            raise ShuttingDown("the server is shutting down; send the request again")
        if self.pending >= self.capacity:
            waiting, again_s = self.waiting, self.again_s
            raise QueueFull(
                f"{waiting} requests are waiting already; the limit is {self.queue_length};"
                f" try again in {again_s} s",
                retry_after_s=again_s,
            )
        # In a list, to be taken out of it: the pool keeps what is cancelled until a thread comes by.
        work = [lambda: function(*args, **kwargs)]
        future = pool.submit(self.in_time, time.perf_counter(), work)
        self.pending += 1
        # Counted down by the thread's end, not by the caller's: one who went away leaves his work running.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self.done))
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            work.clear()
            raise
        finally:
            del future  # or an exception, its frame and the body would hold each other until collected

    @property
    def waiting(self) -> int:
        """How many have no thread yet."""
        return max(0, self.pending - self.running)

    @property
    def again_s(self) -> int:
        return seconds_to_come_again(self.pending * self.pace_s / self.threads)

    def in_time(self, since: float, work: list[Callable[[], R]]) -> R:
        """Do the work now, unless it has waited too long. On the thread."""
        function = work.pop()
        started = time.perf_counter()
        if started - since > self.max_wait_s:
            sentence = f"waited {started - since:.1f} s for a thread; the limit is {self.max_wait_s:g} s"
            raise WaitedTooLong(f"{sentence}; try again in {self.again_s} s", retry_after_s=self.again_s)
        with self.lock:
            self.running += 1
        try:
            return function()
        finally:
            with self.lock:
                self.running -= 1
            self.pace_s += NEWEST * (time.perf_counter() - started - self.pace_s)

    def done(self) -> None:
        self.pending -= 1

    async def close(self) -> None:
        """Refuse new work, finish what was accepted, end the threads."""
        self.closed = True
        for pool in (self.pool, self.patient):
            await asyncio.to_thread(pool.shutdown, wait=True)


def stand_back() -> None:
    """Lower the calling thread's priority, where threads have one of their own (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            own = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + NICENESS)
