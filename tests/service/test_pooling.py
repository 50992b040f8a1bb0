"""Pooling against PyTorch, and what padding may and may not do to it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from service.arithmetic.geometry import check_fits
from service.arithmetic.pooling import Pooling, is_exact, pool
from service.arithmetic.steps import pooling_steps
from service.errors import InvalidRequest

sizes = st.integers(1, 9)
windows = st.integers(1, 4)
seeds = st.integers(0, 2**32 - 1)


def cells(*rows: list[float]) -> np.ndarray:
    return np.array([rows], dtype=float)


@settings(max_examples=100, deadline=None)
@given(
    seed=seeds,
    shape=st.tuples(st.integers(1, 3), sizes, sizes),
    size=st.tuples(windows, windows),
    stride=st.none() | st.tuples(windows, windows),
    shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    kind=st.sampled_from(["max", "average"]),
)
def test_pooling_agrees_with_torch(
    seed: int, shape: Any, size: Any, stride: Any, shares: Any, kind: Any
) -> None:
    image = np.random.default_rng(seed).normal(size=shape)
    padding = tuple(int(f * share) for f, share in zip(size, shares, strict=True))  # torch: half at most
    asked = Pooling(size, stride, padding, kind)
    try:
        check_fits(asked.plan(image), field="size")
    except InvalidRequest:
        return
    by_torch: Any = functional.max_pool2d if kind == "max" else functional.avg_pool2d
    expected = by_torch(torch.from_numpy(image)[None], size, stride, padding)[0].numpy()
    np.testing.assert_allclose(pool(image, asked), expected, rtol=1e-13, atol=1e-15)


def test_windows_lie_side_by_side_unless_a_stride_is_given() -> None:
    image = cells([1, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2])
    assert pool(image, Pooling((2, 2))).tolist() == [[[9, 2], [6, 3]]]
    assert pool(image, Pooling((2, 2), (1, 2))).tolist() == [[[9, 2], [9, 3], [6, 3]]]


def test_padding_never_wins_even_among_negative_cells() -> None:
    image = cells([-5, -6], [-7, -8])
    output = pool(image, Pooling((3, 3), (2, 2), (2, 2, 2, 2)))
    assert output.max() == -5
    assert np.isfinite(output).all()


def test_padding_counts_as_zeros_in_an_average() -> None:
    assert pool(cells([4.0]), Pooling((2, 2), padding=(1, 0, 1, 0), kind="average")).tolist() == [[[1.0]]]


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(windows, windows),
    stride=st.none() | st.tuples(windows, windows),
    shape=st.tuples(sizes, sizes),
)
@pytest.mark.parametrize("word", ["same", "full"])
def test_no_padding_by_a_word_leaves_a_window_without_a_cell(
    word: Any, size: Any, stride: Any, shape: Any
) -> None:
    image = np.full((1, *shape), -1.0)
    assert (pool(image, Pooling(size, stride, word)) == -1).all()


@pytest.mark.parametrize("padding", [2, (2, 0), (0, 0, 0, 2), (0, 3, 0, 0)])
def test_padding_as_wide_as_a_window_is_refused(padding: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"padding is [23] cells but size is 2") as caught:
        Pooling((2, 2), padding=padding).plan(np.ones((1, 5, 5)))
    assert caught.value.errors[0].field == "padding"


def test_a_sum_beyond_a_double_is_refused() -> None:
    image = cells([1e308, 1e308])
    assert pool(image, Pooling((1, 2))).item() == 1e308
    with pytest.raises(InvalidRequest, match="too large"):
        pool(image, Pooling((1, 2), kind="average"))


def test_results_are_exact_where_cells_and_results_are_whole() -> None:
    for image, kind, expected in (
        (cells([1, 4]), "max", True),
        (cells([1, 4]), "average", False),
        (cells([2, 4]), "average", True),
        (cells([0.5, 1.5]), "average", False),
        (cells([0.5, 4]), "max", False),
        (cells([1, 2.0**53]), "max", False),
    ):
        asked = Pooling((1, 2), kind=kind)  # type: ignore[arg-type]
        assert is_exact(image, asked, pool(image, asked)) is expected


def test_minus_zero_never_appears() -> None:
    for kind in ("max", "average"):
        assert not np.signbit(pool(np.full((1, 2, 2), -0.0), Pooling((2, 2), kind=kind))).any()  # type: ignore[arg-type]


def test_steps_show_null_where_max_pooling_was_padded_and_zero_where_an_average_was() -> None:
    image = cells([1, 2], [3, 4])
    asked = Pooling((2, 2), padding=(1, 0, 1, 0), stride=(2, 2))
    first, *rest = pooling_steps(image, asked, exact=True)
    assert first == {"row": 0, "column": 0, "channel": 0, "window": [[None, None], [None, 1]], "result": 1}
    assert rest == []
    asked = Pooling((2, 2), padding=(1, 0, 1, 0), stride=(2, 2), kind="average")
    step = pooling_steps(image, asked, exact=False)[0]
    assert (step["window"], step["result"]) == ([[0, 0], [0, 1]], 0.25)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, shape=st.tuples(st.integers(1, 2), st.integers(2, 6), st.integers(2, 6)))
def test_each_steps_result_is_the_largest_of_its_window_and_the_outputs_cell(seed: int, shape: Any) -> None:
    image = np.random.default_rng(seed).normal(size=shape)
    asked = Pooling((2, 2), (1, 2), "same")
    output, shown = pool(image, asked), pooling_steps(image, asked, exact=False)
    assert len(shown) == output.size
    for step in shown:
        seen = [cell for row in step["window"] for cell in row if cell is not None]
        assert step["result"] == max(seen) == output[step["channel"], step["row"], step["column"]]
