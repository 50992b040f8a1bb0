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
from service.arithmetic.exactness import largest_magnitude
from service.arithmetic.windows import Array


def by_windows(image: Array, asked: Convolution) -> Array:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fourier, "pays", lambda *_: False)
        return correlate(image, asked)


def by_frequencies(image: Array, asked: Convolution) -> Array:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fourier, "pays", lambda *_: True)
        patch.setattr(fourier, "is_even", lambda *_: True)  # zeros of the padding may be most of it
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


def test_whole_numbers_stay_exact_where_frequencies_would_miss_them() -> None:
    """Just below 2**53 a sum has no digit to spare: only the windows give it."""
    image = np.random.default_rng(0).integers(2**43, 2**44, (1, 120, 120)).astype(float)
    asked = Convolution(np.ones((1, 1, 21, 21)))
    geometry = asked.plan(image)
    assert fourier.pays(geometry, 1, 1)
    expected = correlate2d(image[0].astype(np.int64), np.ones((21, 21), np.int64), "valid")
    assert expected.max() < 2**53
    missed = np.empty((1, *geometry.output))
    fourier.correlate_by_frequencies(image, asked.filters, geometry, missed)
    assert np.abs(missed[0] - expected).max() >= 1
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
            bound = fourier.error_bound(largest_magnitude(image), filters, asked.plan(image))
            worst = max(worst, float(np.abs(out - exact).max() / bound))
    assert 1e-6 < worst < 0.5


def test_filters_beyond_the_room_for_their_spectra_go_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (2, 150, 140)).astype(float)
    asked = Convolution(generator.integers(-9, 10, (5, 2, 15, 15)).astype(float))
    monkeypatch.setattr(fourier, "SPECTRUM_BYTES", 2 * 2 * 8 * 128 * 128)
    assert fourier.at_once(128, channels=2) == 2
    np.testing.assert_array_equal(by_frequencies(image, asked), by_windows(image, asked))
    monkeypatch.setattr(fourier, "SPECTRUM_BYTES", 2 * 8 * 128 * 128 - 1)
    assert not fourier.pays(asked.plan(image), 2, 5)


def test_a_point_on_black_is_drawn_as_the_filter_and_black_stays_black() -> None:
    """The point spread function: most cells are 0, and none towers above the others."""
    image = np.zeros((1, 700, 600))
    image[0, 300, 200] = 255.0
    taps = np.random.default_rng(0).random((31, 31))
    asked = Convolution(taps[np.newaxis, np.newaxis], padding="same", flip=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolutions, "_correlate_by_windows", refuse)
        result = convolve(image, asked)[0]
    np.testing.assert_allclose(result[285:316, 185:216], 255 * taps, rtol=0, atol=1e-12)
    assert not result[500:].any()


def test_an_image_of_zeros_is_even() -> None:
    image = np.zeros((1, 200, 200))
    assert fourier.is_even(image, 0.0)
    assert not convolve(image, Convolution(np.full((1, 1, 25, 25), 0.1))).any()


@pytest.mark.parametrize("outlier", [1e20, 1e300])
def test_a_towering_cell_does_not_drown_the_others(outlier: float) -> None:
    image = np.random.default_rng(0).random((1, 200, 200))
    asked = Convolution(np.full((1, 1, 25, 25), 1 / 625))
    expected = convolve(image, asked)
    image[0, 0, 0] = outlier
    result = convolve(image, asked)
    np.testing.assert_allclose(result[0, 1:], expected[0, 1:], rtol=1e-13)


def test_a_towering_cell_does_not_drown_the_few_that_a_black_image_has() -> None:
    image = np.zeros((1, 200, 200))
    image[0, 1, 1], image[0, 150, 152], image[0, 170, 40] = 1e20, 1.0, 2.0
    assert not np.any(image.reshape(-1)[:: image.size // fourier.SAMPLE])
    result = convolve(image, Convolution(np.full((1, 1, 25, 25), 0.1)))[0]
    assert (result[140, 140], result[160, 30], result[100, 100]) == (0.1, 0.2, 0.0)
