"""Gather single items into batches for a function that is cheaper in bulk. Standard library only.

The queue knows neither HTTP nor model: (item, future) in, results out. No timer: a batch is whatever waits
when the function is ready for the next, so a lone item never waits and a crowd is served in bulk.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from service.errors import QueueFull, ShuttingDown

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """A result, how long its item waited, and how long its batch ran."""

    result: Result
    queue_ms: float
    infer_ms: float


@dataclass(eq=False, slots=True)  # an entry is itself; items, tensors say, need not compare to true or false
class Waiting(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Answer[Result]]
    since: float


Batch = list[Waiting[Item, Result]]


class Batcher(Generic[Item, Result]):
    """Run `function` on batches of submitted items, on one thread of its own.

    One thread: the model runs one batch at a time anyway, with as many cores as it is given. The thread
    takes its batches itself and hands answers back once a batch, so that a crowded item costs a
    fraction of a change of threads. `function` gives one result an item; an exception among them is
    its own item's answer alone.
    """

    def __init__(
        self,
        function: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        batch_size: int,
        queue_length: int,
    ) -> None:
        self.function = function
        self.batch_size = batch_size
        self.queue_length = queue_length
        self.waiting: deque[Waiting[Item, Result]] = deque()
        self.wake: SimpleQueue[None] = SimpleQueue()
        self.idle = False
        self.closed = False
        self.thread = threading.Thread(target=self.serve, name="batcher", daemon=True)
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to serve callers on the running event loop."""
        self.loop = asyncio.get_running_loop()
        self.thread.start()

    async def submit(self, item: Item) -> Answer[Result]:
        """Wait for one item's answer. Raises QueueFull, ShuttingDown, or what the function raised.

        A caller that is cancelled while its item waits takes the item out: it is never computed.
        """
        self.check_room()
        assert self.loop is not None, "start() comes first"
        entry = Waiting(item, self.loop.create_future(), time.perf_counter())
        self.waiting.append(entry)
        self.rouse()
        try:
            return await entry.future
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # the thread has taken it already
                self.waiting.remove(entry)
            raise

    def check_room(self) -> None:
        """Raise QueueFull or ShuttingDown where an item would not be taken now."""
        if self.closed:
            raise ShuttingDown("the server is shutting down; send the request again")
        if len(self.waiting) >= self.queue_length:
            raise QueueFull(f"{self.queue_length} pictures are waiting already, the limit; try again later")

    def rouse(self) -> None:
        """Wake the thread where it sleeps. It says so before it looks at the queue, so no item is missed."""
        if self.idle:
            self.idle = False
            self.wake.put(None)

    def serve(self) -> None:
        """Answer batch after batch until closed and empty. Runs on the thread."""
        while True:
            batch = self.take()
            if batch:
                self.answer(batch)
                continue
            self.idle = True
            if not self.waiting:
                if self.closed:
                    return
                self.wake.get()
            self.idle = False

    def take(self) -> Batch[Item, Result]:
        """Take what waits, a batch at most, without those whose callers went away."""
        batch: Batch[Item, Result] = []
        with contextlib.suppress(IndexError):  # empty; asked first, another's removal could come between
            while len(batch) < self.batch_size:
                entry = self.waiting.popleft()
                if not entry.future.done():
                    batch.append(entry)
        return batch

    def answer(self, batch: Batch[Item, Result]) -> None:
        """Run one batch and have every caller in it answered, with a result or with the error."""
        started = time.perf_counter()
        results: Sequence[Result | Exception]
        try:
            results = self.function([entry.item for entry in batch])
            if len(results) != len(batch):  # checked before anyone is answered
                raise RuntimeError(f"{len(batch)} items went in, {len(results)} results came out")
        except Exception as error:  # every caller waits for an answer, whatever it is
            # No future takes a StopIteration, and its neighbours would go without an answer.
            shared = RuntimeError("stopped") if isinstance(error, StopIteration) else error
            results = [shared] * len(batch)
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.deliver, batch, results, started, time.perf_counter())

    def deliver(
        self, batch: Batch[Item, Result], results: Sequence[Result | Exception], started: float, ended: float
    ) -> None:
        """Hand results to their callers, on the event loop; some may have gone away."""
        for entry, result in zip(batch, results, strict=True):
            if entry.future.done():
                continue
            if isinstance(result, Exception):
                entry.future.set_exception(result)
            else:
                queue_ms, infer_ms = (started - entry.since) * 1000, (ended - started) * 1000
                entry.future.set_result(Answer(result, queue_ms, infer_ms))

    async def close(self) -> None:
        """Refuse new items, answer those that wait, end the thread."""
        self.closed = True
        self.wake.put(None)
        if self.loop is not None:
            await asyncio.to_thread(self.thread.join)
