"""Run blocking work off the event loop, on a few threads, with only so much of it waiting."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from service.errors import QueueFull, ShuttingDown

P = ParamSpec("P")
R = TypeVar("R")


class Workers:
    """A thread pool whose queue has an end: decoding and convolution cost milliseconds to seconds each."""

    def __init__(self, threads: int, queue_length: int) -> None:
        self.queue_length = queue_length
        self.capacity = threads + queue_length
        self.pending = 0
        self.closed = False
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `function` on a thread and return what it returns. Raises QueueFull, ShuttingDown."""
        if self.closed:
            raise ShuttingDown("the server is shutting down; send the request again")
        if self.pending >= self.capacity:
            raise QueueFull(f"{self.queue_length} requests are waiting already, the limit; try again later")
        self.pending += 1
        future = self.pool.submit(function, *args, **kwargs)
        # Counted down by the thread's end, not by the caller's: one who went away leaves his work running.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self.done))
        return await asyncio.wrap_future(future)

    def done(self) -> None:
        self.pending -= 1

    async def close(self) -> None:
        """Refuse new work, finish what was accepted, end the threads."""
        self.closed = True
        await asyncio.to_thread(self.pool.shutdown, wait=True)
