"""The queue in front of a model: whoever waits gets an answer."""

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from service.batching import Answer, Batcher
from service.errors import QueueFull, ShuttingDown, WaitedTooLong


class Doubler:
    """Doubles numbers in batches, when the test lets it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        assert self.gate.wait(5)
        self.batches.append(list(items))
        return [item * 2 for item in items]


def batcher(function: object, *, batch_size: int = 4, queue_length: int = 100) -> Batcher[int, int]:
    made: Batcher[int, int] = Batcher(function, batch_size=batch_size, queue_length=queue_length)  # type: ignore[arg-type]
    made.start()
    return made


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0.01)


def test_what_waits_while_the_model_is_busy_is_the_next_batch() -> None:
    async def story() -> None:
        double = Doubler()
        queue = batcher(double)
        tasks = [asyncio.create_task(queue.submit(0))]
        await settle()
        tasks += [asyncio.create_task(queue.submit(i)) for i in range(1, 8)]
        await settle()
        double.gate.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.result for answer in answers] == [2 * i for i in range(8)]
        assert double.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]
        assert answers[5].queue_ms > 20
        assert answers[0].infer_ms > 20
        await queue.close()

    asyncio.run(story())


def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    async def story() -> None:
        double = Doubler()
        queue = batcher(double, queue_length=2)
        tasks = [asyncio.create_task(queue.submit(0))]
        await settle()
        tasks += [asyncio.create_task(queue.submit(i)) for i in (1, 2)]
        await settle()
        with pytest.raises(QueueFull, match="2 pictures"):
            await queue.submit(3)
        double.gate.set()
        assert [answer.result for answer in await asyncio.gather(*tasks)] == [0, 2, 4]
        await queue.close()

    asyncio.run(story())


def test_an_error_reaches_every_caller_of_its_batch_and_the_queue_goes_on() -> None:
    async def story() -> None:
        def fails_on_odd(items: Sequence[int]) -> list[int]:
            if any(item % 2 for item in items):
                raise ValueError("odd")
            return list(items)

        queue = batcher(fails_on_odd)
        answers = await asyncio.gather(*(queue.submit(i) for i in range(4)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ValueError] * 4
        assert (await queue.submit(2)).result == 2
        await queue.close()

    asyncio.run(story())


def test_too_few_results_answer_nobody_wrongly() -> None:
    async def story() -> None:
        queue = batcher(lambda items: items[1:])
        answers = await asyncio.gather(queue.submit(1), queue.submit(2), return_exceptions=True)
        assert [type(answer) for answer in answers] == [RuntimeError] * 2
        await queue.close()

    asyncio.run(story())


def test_a_caller_who_goes_away_is_never_computed() -> None:
    async def story() -> None:
        double = Doubler()
        queue = batcher(double)
        first = asyncio.create_task(queue.submit(0))
        await settle()
        leaves, stays = (asyncio.create_task(queue.submit(i)) for i in (1, 2))
        await settle()
        leaves.cancel()
        await settle()
        double.gate.set()
        await asyncio.gather(first, stays)
        assert double.batches == [[0], [2]]
        await queue.close()

    asyncio.run(story())


def test_items_that_do_not_compare_are_taken_out_too() -> None:
    async def story() -> None:
        gate, seen = threading.Event(), []

        def count(items: Sequence[Tensor]) -> list[int]:
            assert gate.wait(5)
            seen.append(len(items))
            return [int(item.sum()) for item in items]

        queue: Batcher[Tensor, int] = Batcher(count, batch_size=1, queue_length=9)
        queue.start()
        tasks = [asyncio.create_task(queue.submit(torch.full((3, 2), i))) for i in range(4)]
        await settle()
        tasks[2].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[2]
        gate.set()
        assert [(await tasks[i]).result for i in (0, 1, 3)] == [0, 6, 18]
        assert seen == [1, 1, 1]
        await queue.close()

    asyncio.run(story())


def test_closing_answers_those_who_wait_and_refuses_the_next() -> None:
    async def story() -> None:
        double = Doubler()
        queue = batcher(double)
        tasks = [asyncio.create_task(queue.submit(i)) for i in range(6)]
        await settle()
        closing = asyncio.create_task(queue.close())
        await settle()
        with pytest.raises(ShuttingDown):
            await queue.submit(9)
        double.gate.set()
        await closing
        assert [task.result().result for task in tasks] == [0, 2, 4, 6, 8, 10]

    asyncio.run(story())


def test_closing_an_idle_queue_ends_at_once() -> None:
    async def story() -> None:
        queue = batcher(Doubler())
        await settle()
        await asyncio.wait_for(queue.close(), 1)

    asyncio.run(story())


def test_a_caller_who_went_away_a_moment_ago_is_not_computed_either() -> None:
    """The thread may look before the cancelled caller has had its turn to take its item out."""

    async def story() -> None:
        queue: Batcher[int, int] = Batcher(list, batch_size=4, queue_length=9)
        queue.loop = asyncio.get_running_loop()  # no thread: the test takes what it would
        tasks = [asyncio.create_task(queue.submit(i)) for i in range(3)]
        await settle()
        tasks[1].cancel()
        batch = queue.take()
        assert [entry.item for entry in batch] == [0, 2]
        queue.answer(batch)
        assert [answer.result for answer in await asyncio.gather(tasks[0], tasks[2])] == [0, 2]
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]

    asyncio.run(story())


def test_an_item_whose_turn_comes_too_late_is_not_computed() -> None:
    seen: list[int] = []

    def slow(items: Sequence[int]) -> list[int]:
        seen.extend(items)
        time.sleep(0.2)
        return list(items)

    async def story() -> None:
        queue: Batcher[int, int] = Batcher(slow, batch_size=1, queue_length=9, max_wait_s=0.1)
        queue.start()
        tasks = [asyncio.create_task(queue.submit(number)) for number in range(3)]
        first, *late = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, Answer)
        for error in late:
            assert isinstance(error, WaitedTooLong)
            assert "the limit is 0.1 s" in error.detail
            assert error.retry_after is not None
        assert seen == [0]
        assert (await queue.submit(7)).result == 7, "it goes on"
        await queue.close()

    asyncio.run(story())


def test_retry_after_is_how_long_the_queue_takes() -> None:
    def slow(items: Sequence[int]) -> list[int]:
        time.sleep(0.3 * len(items))
        return list(items)

    async def story() -> None:
        queue: Batcher[int, int] = Batcher(slow, batch_size=4, queue_length=8)
        queue.start()
        for _ in range(6):  # the pace is a mean that follows
            await queue.submit(0)
        tasks = [asyncio.create_task(queue.submit(number)) for number in range(9)]
        await asyncio.sleep(0.05)
        tasks += [asyncio.create_task(queue.submit(9)) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as error:
            queue.check_room()
        assert error.value.retry_after in {2, 3}, "8 items of 0.3 s"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await queue.close()

    asyncio.run(story())


def test_callers_have_their_answers_where_noting_a_batch_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        def fail(_: object) -> None:
            raise OSError("the metrics' folder is gone")

        double = Doubler()
        double.gate.set()
        queue = batcher(double)
        queue.on_batch = fail
        assert [(await queue.submit(item)).result for item in (1, 2)] == [2, 4]
        await queue.close()

    asyncio.run(asyncio.wait_for(story(), 10))
    assert "the metrics' folder is gone" in caplog.text
