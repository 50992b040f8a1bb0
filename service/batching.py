"""Gather single items into batches for a function that is cheaper in bulk. Standard library only.

The queue knows neither HTTP nor model: (item, future) in, results out. No timer: a batch is whatever waits
when the function is ready for the next, so a lone item never waits and a crowd is served in bulk.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.errors import QueueFull, ShuttingDown

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Answer(Generic[Result]):
    """A result, how long its item waited, and how long its batch ran."""

    result: Result
    queue_ms: float
    infer_ms: float


@dataclass(eq=False)  # an entry is itself; items, tensors say, need not compare to true or false
class Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Answer[Result]]
    since: float


class Batcher(Generic[Item, Result]):
    """Run `function` on batches of submitted items, on one thread of its own.

    One thread: the model runs one batch at a time anyway, with as many cores as it is given.
    """

    def __init__(
        self,
        function: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        batch_size: int,
        queue_length: int,
    ) -> None:
        self.function = function
        self.batch_size = batch_size
        self.queue_length = queue_length
        self.waiting: deque[Waiting[Item, Result]] = deque()
        self.wake = asyncio.Event()
        self.closed = False
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="batcher")
        self.loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve, on the running event loop."""
        self.loop = asyncio.create_task(self.serve())

    async def submit(self, item: Item) -> Answer[Result]:
        """Wait for one item's answer. Raises QueueFull, ShuttingDown, or what the function raised.

        A caller that is cancelled while its item waits takes the item out: it is never computed.
        """
        if self.closed:
            raise ShuttingDown("the server is shutting down; send the request again")
        if len(self.waiting) >= self.queue_length:
            raise QueueFull(f"{self.queue_length} pictures are waiting already, the limit; try again later")
        future: asyncio.Future[Answer[Result]] = asyncio.get_running_loop().create_future()
        entry = Waiting(item, future, time.perf_counter())
        self.waiting.append(entry)
        self.wake.set()
        try:
            return await future
        except asyncio.CancelledError:
            if entry in self.waiting:
                self.waiting.remove(entry)
            raise

    async def serve(self) -> None:
        """Answer batch after batch until closed and empty."""
        while self.waiting or not self.closed:
            if not self.waiting:
                self.wake.clear()
                await self.wake.wait()
                continue
            batch = [self.waiting.popleft() for _ in range(min(self.batch_size, len(self.waiting)))]
            await self.answer(batch)

    async def answer(self, batch: list[Waiting[Item, Result]]) -> None:
        """Run one batch and answer every caller in it, with a result or with the error."""
        started = time.perf_counter()
        try:
            results = await asyncio.get_running_loop().run_in_executor(
                self.thread, self.function, [entry.item for entry in batch]
            )
            if len(results) != len(batch):  # checked before anyone is answered
                raise RuntimeError(f"{len(batch)} items went in, {len(results)} results came out")
        except Exception as error:  # every caller waits for an answer, whatever it is
            for entry in batch:
                if not entry.future.done():
                    entry.future.set_exception(error)
            return
        ran = (time.perf_counter() - started) * 1000
        for entry, result in zip(batch, results, strict=True):
            if not entry.future.done():  # its caller may have gone away
                entry.future.set_result(Answer(result, (started - entry.since) * 1000, ran))

    async def close(self) -> None:
        """Refuse new items, answer those that wait, end the thread."""
        self.closed = True
        self.wake.set()
        if self.loop is not None:
            await self.loop
        self.thread.shutdown()
