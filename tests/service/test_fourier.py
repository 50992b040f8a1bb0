"""Large filters through the frequencies: the same sums, whole numbers exactly."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import correlate2d

from service.arithmetic import convolution as convolutions
from service.arithmetic import fourier
from service.arithmetic.convolution import Convolution, convolve, correlate
from service.arithmetic.windows import Array


def by_windows(image: Array, asked: Convolution) -> Array:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fourier, "pays", lambda *_: False)
        return correlate(image, asked)


def by_frequencies(image: Array, asked: Convolution) -> Array:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fourier, "pays", lambda *_: True)
        patch.setattr(fourier, "is_even", lambda _: True)  # zeros of the padding may be most of it
        patch.setattr(convolutions, "_correlate_by_windows", refuse)
        return correlate(image, asked)


def refuse(*_: Any) -> None:
    raise AssertionError("not through the frequencies")


layouts = st.fixed_dictionaries(
    {
        "stride": st.tuples(st.integers(1, 4), st.integers(1, 4)),
        "dilation": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "padding": st.sampled_from(["valid", "same", "full", 2]),
        "per_channel": st.booleans(),
        "flip": st.booleans(),
    }
)


@given(
    st.integers(1, 3),
    st.tuples(st.integers(20, 300), st.integers(20, 200)),
    st.integers(1, 3),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    layouts,
    st.booleans(),
    st.integers(0, 99),
)
def test_frequencies_give_what_windows_give(
    channels: int,
    size: tuple[int, int],
    kernels: int,
    window: tuple[int, int],
    layout: dict[str, Any],
    shared: bool,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    filters = generator.standard_normal((kernels, 1 if shared else channels, *window))
    image = generator.random((channels, *size))
    asked = Convolution(filters, **layout)
    np.testing.assert_allclose(by_frequencies(image, asked), by_windows(image, asked), rtol=0, atol=1e-12)
    whole = replace(asked, filters=np.rint(filters * 100))
    image = np.rint(image * 255)
    np.testing.assert_array_equal(by_frequencies(image, whole), by_windows(image, whole))


@pytest.mark.parametrize("side", [15, 31, 101])
def test_a_large_filter_on_a_picture_is_scipys_to_the_last_digit(side: int) -> None:
    generator = np.random.default_rng(side)
    image = generator.integers(0, 256, (1, 333, 257)).astype(float)
    taps = generator.integers(-99, 100, (side, side)).astype(float)
    asked = Convolution(taps[np.newaxis, np.newaxis])
    assert fourier.pays(asked.plan(image), 1, 1)
    np.testing.assert_array_equal(convolve(image, asked)[0], correlate2d(image[0], taps, "valid"))


def test_small_filters_and_long_strides_go_by_windows() -> None:
    image = np.zeros((1, 500, 500))
    for asked, quicker in (
        (Convolution(np.ones((1, 1, 3, 3))), False),
        (Convolution(np.ones((1, 1, 31, 31))), True),
        (Convolution(np.ones((1, 1, 31, 31)), stride=(30, 30)), False),
        (Convolution(np.ones((64, 1, 5, 5))), False),
    ):
        assert fourier.pays(asked.plan(image), 1, len(asked.filters)) is quicker


def test_whole_numbers_stay_exact_where_frequencies_could_not_hold_them() -> None:
    """Just below 2**53 a sum has no digit to spare: only the windows give it."""
    image = np.full((1, 200, 200), 2.0**44 - 1)
    image[0, ::7, ::3] = 1
    asked = Convolution(np.where(np.arange(441).reshape(1, 1, 21, 21) % 2, -1.0, 1.0))
    geometry = asked.plan(image)
    assert fourier.pays(geometry, 1, 1)
    assert fourier.error_bound(image, asked.filters, geometry) > convolutions.EXACT_WITHIN
    expected = correlate2d(image[0].astype(np.int64), asked.filters[0, 0].astype(np.int64), "valid")
    np.testing.assert_array_equal(convolve(image, asked)[0].astype(np.int64), expected)


def test_the_error_stays_below_its_bound() -> None:
    generator = np.random.default_rng(0)
    worst = 0.0
    for size in (40, 128, 700):
        for side in (3, 21, 60):
            image = generator.choice([-1.0, 1.0], (1, size + side, size + side)) * 2.0**40
            filters = generator.choice([-1.0, 1.0], (1, 1, side, side))
            asked = Convolution(filters)
            exact = by_windows(image, asked)
            out = np.empty_like(exact)
            fourier.correlate_by_frequencies(image, filters, asked.plan(image), out)
            bound = fourier.error_bound(image, filters, asked.plan(image))
            worst = max(worst, float(np.abs(out - exact).max() / bound))
    assert 1e-6 < worst < 0.5


@pytest.mark.parametrize("outlier", [1e20, 1e300])
def test_a_towering_cell_does_not_drown_the_others(outlier: float) -> None:
    image = np.random.default_rng(0).random((1, 200, 200))
    asked = Convolution(np.full((1, 1, 25, 25), 1 / 625))
    expected = convolve(image, asked)
    image[0, 0, 0] = outlier
    result = convolve(image, asked)
    np.testing.assert_allclose(result[0, 1:], expected[0, 1:], rtol=1e-13)
