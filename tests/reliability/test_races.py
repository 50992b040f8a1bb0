"""Batching against cancellation, answer by answer: quick `python -m benchmarks.reliability races`."""

import pytest

from benchmarks.reliability import races, races_http


@pytest.mark.parametrize("first_seed", [0, 1000])
def test_every_caller_gets_its_own_end_and_only_one(first_seed: int) -> None:
    found = races.run(40, first_seed)
    assert not found["wrong"]
    assert {"result", "error", "cancelled", "WaitedTooLong", "ShuttingDown"} <= found["ends"].keys()


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_every_picture_gets_its_own_answer_while_clients_leave() -> None:
    found = races_http.run(1000)
    assert not found["wrong"]
    assert found["ends"]["left"] > 100
    assert found["ends"]["500"] > 5
