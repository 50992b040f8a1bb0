"""Blocking work: off the event loop, bounded, finished before the end."""

import asyncio
import gc
import os
import sys
import threading
import time
import weakref

import pytest

from service.errors import QueueFull, ShuttingDown, WaitedTooLong
from service.workers import NICENESS, Workers


def test_work_runs_on_another_thread_and_its_error_comes_back() -> None:
    async def story() -> None:
        workers = Workers(threads=1, queue_length=1)
        assert await workers.run(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await workers.run(divmod, 1, 0)
        assert workers.pending == 0
        await workers.close()

    asyncio.run(story())


def test_more_than_the_limit_is_refused_until_room_is_made() -> None:
    async def story() -> None:
        workers = Workers(threads=1, queue_length=2)
        gate = threading.Event()
        tasks = [asyncio.create_task(workers.run(gate.wait, 5)) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(QueueFull, match="2 requests"):
            await workers.run(int)
        tasks[2].cancel()  # its caller went away; the place is free again when the pool drops it
        gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(500):
            if not workers.pending:
                break
            await asyncio.sleep(0.01)
        assert await workers.run(int) == 0
        await workers.close()

    asyncio.run(story())


def test_closing_finishes_what_was_accepted() -> None:
    async def story() -> None:
        workers = Workers(threads=1, queue_length=5)
        gate = threading.Event()
        tasks = [asyncio.create_task(workers.run(gate.wait, 5)) for _ in range(3)]
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(workers.close())
        await asyncio.sleep(0.05)
        with pytest.raises(ShuttingDown):
            await workers.run(int)
        gate.set()
        await closing
        assert await asyncio.gather(*tasks) == [True] * 3

    asyncio.run(story())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux alone")
def test_large_work_stands_back_and_other_work_does_not() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def story() -> None:
        workers, own = Workers(threads=1, queue_length=1), niceness()
        assert await workers.run(niceness) == own
        assert await workers.run_large(niceness) == min(own + NICENESS, 19)
        assert niceness() == own
        await workers.close()

    asyncio.run(story())


def test_what_a_failed_call_was_given_is_let_go_at_once() -> None:
    class Body:
        pass

    def fail(_: Body) -> None:
        raise ValueError

    async def story() -> "weakref.ref[Body]":
        workers = Workers(threads=1, queue_length=1)
        body = Body()
        kept = weakref.ref(body)
        with pytest.raises(ValueError):  # noqa: PT011  (any will do)
            await workers.run(fail, body)
        del body
        await workers.close()
        return kept

    gc.disable()
    try:
        assert asyncio.run(story())() is None
    finally:
        gc.enable()


def test_a_call_whose_turn_comes_too_late_is_not_begun_and_says_when_to_come_again() -> None:
    async def story() -> None:
        workers = Workers(threads=1, queue_length=5, max_wait_s=0.05)
        begun = []
        slow = asyncio.create_task(workers.run(time.sleep, 0.2))
        late = asyncio.create_task(workers.run(begun.append, 1))
        await slow
        with pytest.raises(
            WaitedTooLong, match=r"waited 0\.\d s for a thread; the limit is 0\.05 s"
        ) as error:
            await late
        assert error.value.retry_after is not None
        assert 1 <= error.value.retry_after <= 60
        assert not begun
        await workers.close()

    asyncio.run(story())
