"""Gather single items into batches for a function that is cheaper in bulk. Standard library only.

The queue knows neither HTTP nor model: (item, future) in, results out. No timer: a batch is whatever waits
when the function is ready for the next, so a lone item never waits and a crowd is served in bulk.
"""

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from service.errors import QueueFull, ShuttingDown, WaitedTooLong

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

NEWEST = 0.2  # the share of the newest batch in the mean pace of all


def seconds_to_come_again(wait_s: float) -> int:
    """Say for `Retry-After` when there will be room: whole seconds, 1 to 60."""
    return min(60, max(1, math.ceil(wait_s)))


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
        max_wait_s: float = math.inf,
    ) -> None:
        self.function = function
        self.batch_size = batch_size
        self.queue_length = queue_length
        self.max_wait_s = max_wait_s
        self.pace_s = 0.0  # an item, a mean of the last batches
        self.busy_since = math.inf  # by perf_counter, when the batch that is at work began
        self.on_batch: Callable[[Sequence[Result | Exception]], None] = lambda _: None
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
        """Wait for one item's answer.

        Raises QueueFull, WaitedTooLong, ShuttingDown, or what the function raised.

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
        finally:
            del entry  # or an exception, its frame and the item would hold each other until collected

    def check_room(self) -> None:
        """Raise QueueFull or ShuttingDown where an item would not be taken now."""
        if self.closed:
            raise ShuttingDown("the server is shutting down; send the request again")
        if len(self.waiting) >= self.queue_length:
            again_s = seconds_to_come_again(len(self.waiting) * self.pace_s)
            raise QueueFull(
                f"{len(self.waiting)} pictures are waiting already; the limit is {self.queue_length};"
                f" try again in {again_s} s",
                retry_after_s=again_s,
            )

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
        """Take what waits, a batch at most, without those whose callers went away or whose time is over."""
        batch: Batch[Item, Result] = []
        late: Batch[Item, Result] = []
        oldest = time.perf_counter() - self.max_wait_s
        with contextlib.suppress(IndexError):  # empty; asked first, another's removal could come between
            while len(batch) < self.batch_size:
                entry = self.waiting.popleft()
                if not entry.future.done():
                    (batch if entry.since >= oldest else late).append(entry)
        if late:
            assert self.loop is not None
            self.loop.call_soon_threadsafe(self.give_up, late)
        return batch

    def give_up(self, late: Batch[Item, Result]) -> None:
        """Tell those that waited too long, on the event loop."""
        for entry in late:
            if not entry.future.done():
                waited_s = time.perf_counter() - entry.since
                again_s = seconds_to_come_again(len(self.waiting) * self.pace_s)
                sentence = f"waited {waited_s:.1f} s for its turn; the limit is {self.max_wait_s:g} s"
                entry.future.set_exception(
                    WaitedTooLong(f"{sentence}; try again in {again_s} s", retry_after_s=again_s)
                )

    def answer(self, batch: Batch[Item, Result]) -> None:
        """Run one batch and have every caller in it answered, with a result or with the error."""
        started = self.busy_since = time.perf_counter()
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
        ended, self.busy_since = time.perf_counter(), math.inf
        self.pace_s += NEWEST * ((ended - started) / len(batch) - self.pace_s)
        self.loop.call_soon_threadsafe(self.deliver, batch, results, started, ended)

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
        self.on_batch(results)  # last: where noting fails, everybody has an answer

    async def close(self) -> None:
        """Refuse new items, answer those that wait, end the thread."""
        self.closed = True
        self.wake.put(None)
        if self.loop is not None:
            await asyncio.to_thread(self.thread.join)
