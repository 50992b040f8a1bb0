"""Mixed requests, good and bad, each answer checked: a quick version of `make soak`, and its arithmetic."""

import asyncio

import pytest

from benchmarks.reliability import footprint
from benchmarks.reliability.mix import catalogue
from benchmarks.reliability.server import serving
from benchmarks.reliability.soak import soak


def test_every_answer_of_a_mix_of_requests_is_right() -> None:
    with serving(2) as server:
        found = asyncio.run(soak(server, 500, rounds=1))
    assert not found["wrong"]
    assert found["bad"] > 20
    assert found["left"] > 0
    assert found["at_rest"]["stride_buffered_bytes"] == 0


def test_a_tenth_of_the_mix_is_bad() -> None:
    kinds = catalogue()
    assert sum(one.weight for one in kinds if one.is_bad) / sum(one.weight for one in kinds) == pytest.approx(
        0.1
    )


def test_growth_is_told_after_the_warm_up() -> None:
    steady = [100.0] * 45 + [110.0] * 5
    assert footprint.growth([5.0] * 5 + steady) == pytest.approx(0.1)
    assert footprint.growth([5.0] * 5 + [100.0] * 45) == 0
    line = [100 + number / 10 for number in range(90)]
    assert footprint.slope([0.0] * 10 + line) == pytest.approx(0.089, abs=0.001)
