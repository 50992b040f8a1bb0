"""Convolution against SciPy, SciPy's ndimage and PyTorch, and against the article's own numbers."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal
from torch.nn import functional

from service.arithmetic import convolution
from service.arithmetic.convolution import Convolution, convolve, is_exact
from service.arithmetic.geometry import Cost, Limits, check_cost, check_fits, describe_size, plan
from service.arithmetic.steps import check_steps, convolution_steps
from service.arithmetic.windows import NUMPY_MODES, pad
from service.errors import InvalidRequest

ARTICLE = np.array([[[10, 10, 10, 0, 0, 0]] * 6], dtype=float)
VERTICAL_EDGE = np.array([[[[1, 0, -1]] * 3]], dtype=float)
LIMITS = Limits(max_cells=10_000, max_multiply_adds=1_000_000)

sizes = st.integers(1, 9)
windows = st.integers(1, 5)
steps = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)


def whole_numbers(seed: int, *shape: int) -> np.ndarray:
    """Numbers small enough for every sum to be exact, so that results are compared bit by bit."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(float)


def by_torch(image: np.ndarray, filters: np.ndarray, **options: Any) -> np.ndarray:
    return functional.conv2d(torch.from_numpy(image)[None], torch.from_numpy(filters), **options)[0].numpy()


def test_the_articles_edge_gives_its_4x4_answer() -> None:
    output = convolve(ARTICLE, Convolution(VERTICAL_EDGE))
    assert output.tolist() == [[[0, 30, 30, 0]] * 4]


def test_textbook_strides_and_paddings_have_their_known_sizes() -> None:
    assert plan((7, 7), (3, 3), stride=(2, 2)).output == (3, 3)
    assert plan((6, 6), (3, 3), padding=1).output == (6, 6)
    assert plan((39, 39), (3, 3)).output == (37, 37)
    assert plan((37, 37), (5, 5), stride=(2, 2)).output == (17, 17)


@settings(max_examples=60, deadline=None)
@given(n=sizes, f=windows, s=steps, d=steps, before=sizes, after=sizes)
def test_a_size_counts_the_places_where_a_window_fits(
    n: int, f: int, s: int, d: int, before: int, after: int
) -> None:
    height = plan((n, 1), (f, 1), padding=(before, after, 0, 0), stride=(s, 1), dilation=(d, 1)).height
    padded = before + n + after
    places = [top for top in range(0, padded, s) if top + d * (f - 1) < padded]
    assert max(height.result, 0) == len(places)


@settings(max_examples=60, deadline=None)
@given(n=sizes, f=windows, s=steps, d=steps)
def test_same_padding_gives_the_size_over_the_stride_rounded_up_and_its_odd_cell_at_the_end(
    n: int, f: int, s: int, d: int
) -> None:
    height = plan((n, 1), (f, 1), padding="same", stride=(s, 1), dilation=(d, 1)).height
    assert height.result == -(-n // s)
    assert height.after - height.before in (0, 1)
    assert height.before == 0 or (height.result - 1) * s + height.reach == height.padded


@settings(max_examples=60, deadline=None)
@given(
    n=sizes, f=windows, s=steps, d=steps, padding=st.sampled_from(["valid", "same", "full", 3, (1, 2, 0, 1)])
)
def test_the_formula_that_is_shown_gives_the_result_that_is_shown(
    n: int, f: int, s: int, d: int, padding: Any
) -> None:
    geometry = plan((n, n), (f, f), padding=padding, stride=(s, s), dilation=(d, 1))
    size = describe_size(geometry)
    shown = "floor((n + 2p - f) / s) + 1" if d == 1 else "floor((n + 2p - d(f - 1) - 1) / s) + 1"
    assert size["formula"] == shown
    runnable = shown.replace("2p", "2 * p").replace("d(", "d * (")
    for axis in (size["height"], size["width"]):
        assert isinstance(axis, dict)
        assert eval(runnable, {"floor": lambda x: int(x // 1)} | axis) == axis["result"]
        assert ("d" in axis) == (d != 1)
        assert ("before" in axis) == ("after" in axis)
        assert axis.get("before", axis["p"]) + axis.get("after", axis["p"]) == 2 * axis["p"]


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    image=st.tuples(sizes, sizes),
    window=st.tuples(windows, windows),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(steps, steps),
    dilation=st.tuples(steps, steps),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    depthwise=st.booleans(),
)
def test_any_layer_agrees_with_torch(
    seed: int, image: Any, window: Any, shape: Any, stride: Any, dilation: Any, padding: Any, depthwise: bool
) -> None:
    kernels, channels = shape
    cells, filters = (
        whole_numbers(seed, channels, *image),
        whole_numbers(seed + 1, kernels, channels, *window),
    )
    bias = tuple(range(kernels))
    asked = Convolution(
        filters, padding=padding, stride=stride, dilation=dilation, bias=bias, per_channel=depthwise
    )
    try:
        check_fits(asked.plan(cells), field="filter")
    except InvalidRequest:
        return
    output = convolve(cells, asked)
    weights, biases = filters, np.array(bias, dtype=float)
    if depthwise:  # torch's groups: all filters of the first channel, then of the second
        weights = filters.swapaxes(0, 1).reshape(-1, 1, *window)
        biases = np.tile(biases, channels)
    expected = by_torch(
        cells,
        np.ascontiguousarray(weights),
        stride=stride,
        dilation=dilation,
        padding=padding,
        bias=torch.from_numpy(biases),
        groups=channels if depthwise else 1,
    )
    np.testing.assert_array_equal(output, expected)
    assert asked.cost(cells) == (channels, len(output), weights[0].size)


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch's, of even filters
@settings(max_examples=40, deadline=None)
@given(seed=seeds, image=st.tuples(sizes, sizes), window=st.tuples(windows, windows), d=steps)
def test_same_padding_is_torchs_even_filters_and_dilation_included(
    seed: int, image: Any, window: Any, d: int
) -> None:
    cells, filters = whole_numbers(seed, 1, *image), whole_numbers(seed + 1, 1, 1, *window)
    output = convolve(cells, Convolution(filters, padding="same", dilation=(d, d)))
    np.testing.assert_array_equal(output, by_torch(cells, filters, padding="same", dilation=d))


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    image=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    window=st.tuples(windows, windows),
    word=st.sampled_from(["valid", "full"]),
    mode=st.sampled_from([("zeros", "fill"), ("circular", "wrap"), ("symmetric", "symm")]),
    flip=st.booleans(),
)
def test_valid_and_full_agree_with_scipy_flipped_or_not(
    seed: int, image: Any, window: Any, word: Any, mode: Any, flip: bool
) -> None:
    cells, filters = whole_numbers(seed, *image), whole_numbers(seed + 1, *window)
    ours, theirs = mode
    output = convolve(
        cells[None], Convolution(filters[None, None], padding=word, padding_mode=ours, flip=flip)
    )
    function = signal.convolve2d if flip else signal.correlate2d
    np.testing.assert_array_equal(output[0], function(cells, filters, mode=word, boundary=theirs))


@settings(max_examples=60, deadline=None)
@given(
    seed=seeds,
    image=st.tuples(sizes, sizes),
    window=st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 5])),
    mode=st.sampled_from(
        [
            ("zeros", "constant"),
            ("reflect", "mirror"),
            ("symmetric", "reflect"),
            ("replicate", "nearest"),
            ("circular", "wrap"),
        ]
    ),
    flip=st.booleans(),
)
def test_every_padding_mode_is_ndimages_under_our_name(
    seed: int, image: Any, window: Any, mode: Any, flip: bool
) -> None:
    cells, filters = whole_numbers(seed, *image), whole_numbers(seed + 1, *window)
    ours, theirs = mode
    asked = Convolution(filters[None, None], padding="same", padding_mode=ours, flip=flip)
    function = ndimage.convolve if flip else ndimage.correlate
    np.testing.assert_array_equal(convolve(cells[None], asked)[0], function(cells, filters, mode=theirs))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_each_side_by_its_own_amount_is_torchs(mode: Any) -> None:
    image = whole_numbers(1, 2, 5, 6)
    geometry = plan((5, 6), (1, 1), padding=(1, 4, 2, 3))
    expected = functional.pad(torch.from_numpy(image)[None], (2, 3, 1, 4), mode=mode)[0]
    np.testing.assert_array_equal(pad(image, geometry, mode), expected.numpy())


@settings(max_examples=60, deadline=None)
@given(n=sizes, before=st.integers(0, 30), after=st.integers(0, 30))
def test_padding_larger_than_the_image_repeats_its_pattern(n: int, before: int, after: int) -> None:
    places = range(-before, n + after)
    period = 2 * (n - 1) or 1
    expected = {
        "circular": [p % n for p in places],
        "replicate": [min(max(p, 0), n - 1) for p in places],
        "symmetric": [min(p % (2 * n), 2 * n - 1 - p % (2 * n)) for p in places],
        "reflect": [min(p % period, period - p % period) if n > 1 else 0 for p in places],
    }
    row = np.arange(n, dtype=float).reshape(1, 1, n)
    for mode, cells in expected.items():
        padded = pad(row, plan((1, n), (1, 1), padding=(0, 0, before, after)), mode)  # type: ignore[arg-type]
        assert padded[0, 0].tolist() == cells, mode


def test_a_constant_pads_with_its_value_and_zeros_ignore_it() -> None:
    image, geometry = np.ones((1, 1, 1)), plan((1, 1), (1, 1), padding=1)
    assert pad(image, geometry, "constant", 7.0)[0].tolist() == [[7, 7, 7], [7, 1, 7], [7, 7, 7]]
    assert pad(image, geometry, "zeros", 7.0)[0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


@settings(max_examples=60, deadline=None)
@given(seed=seeds, size=sizes)
def test_a_filter_that_is_one_in_its_middle_changes_nothing(seed: int, size: int) -> None:
    image = np.random.default_rng(seed).normal(size=(2, size, size))
    middle = np.zeros((1, 2, 3, 3))
    middle[..., 1, 1] = 1
    output = convolve(image, Convolution(middle, padding="same", per_channel=True))
    np.testing.assert_array_equal(output, image)


def test_flipping_a_filter_and_asking_for_flip_are_the_same_with_every_padding() -> None:
    image, filters = whole_numbers(3, 1, 6, 6), whole_numbers(4, 1, 1, 2, 3)
    for padding in ("valid", "same", "full"):
        flipped = convolve(image, Convolution(filters, padding=padding, flip=True))
        np.testing.assert_array_equal(
            flipped, convolve(image, Convolution(filters[..., ::-1, ::-1], padding=padding))
        )


def test_bias_is_added_before_relu_cuts_off() -> None:
    image = np.array([[[-3.0, -1.0, 0.0, 2.0]]])
    filters = np.array([[[[1.0]]], [[[-1.0]]]])
    output = convolve(image, Convolution(filters, bias=(1, -1), activation="relu"))
    assert output.tolist() == [[[0, 0, 1, 3]], [[2, 0, 0, 0]]]


def test_depthwise_outputs_go_channel_by_channel_with_each_filters_own_bias() -> None:
    image = np.array([[[1.0]], [[10.0]]])
    filters = np.array([[[[2.0]], [[2.0]]], [[[3.0]], [[3.0]]]])
    output = convolve(image, Convolution(filters, bias=(0.5, 0), per_channel=True))
    assert output.ravel().tolist() == [2.5, 3, 20.5, 30]


@settings(max_examples=60, deadline=None)
@given(seed=seeds, channels=st.integers(1, 4), kernels=st.integers(1, 3), per_channel=st.booleans())
def test_a_flat_filter_is_the_same_filter_on_every_channel(
    seed: int, channels: int, kernels: int, per_channel: bool
) -> None:
    image, flat = whole_numbers(seed, channels, 5, 4), whole_numbers(seed + 1, kernels, 1, 2, 3)
    repeated = np.repeat(flat, channels, axis=1)
    one, each = (
        Convolution(filters, padding=1, padding_mode="constant", value=2, per_channel=per_channel)
        for filters in (flat, repeated)
    )
    np.testing.assert_array_equal(convolve(image, one), convolve(image, each))
    assert convolution_steps(image, one, "HWC") == convolution_steps(image, each, "HWC")
    assert one.cost(image) == each.cost(image)
    assert is_exact(image * 2.0**44, one) == is_exact(image * 2.0**44, each)


@pytest.mark.parametrize("name", ["BLOCK_CELLS", "BLOCK_RESULTS", "BLOCK_MULTIPLY_ADDS"])
@pytest.mark.parametrize("size", [1, 7, 50, 300])
@pytest.mark.parametrize("per_channel", [False, True])
def test_blocks_of_any_size_give_the_same_output(
    monkeypatch: pytest.MonkeyPatch, name: str, size: int, per_channel: bool
) -> None:
    image, filters = whole_numbers(5, 3, 9, 8), whole_numbers(6, 4, 3, 2, 3)
    asked = Convolution(filters, padding=1, per_channel=per_channel)
    expected = convolve(image, asked)
    monkeypatch.setattr(convolution, name, size)
    np.testing.assert_array_equal(convolve(image, asked), expected)


@pytest.mark.parametrize(("image", "window"), [((400, 400), (31, 31)), ((2, 150_000), (2, 51))])
def test_memory_stays_a_small_multiple_of_the_images(image: Any, window: Any) -> None:
    cells, filters = np.ones((1, *image)), np.ones((1, 1, *window))
    tracemalloc.start()
    convolve(cells, Convolution(filters, padding="same"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * cells.nbytes + 2**22


def test_a_heavy_layer_takes_no_more_memory_than_its_numbers() -> None:
    image, filters = np.ones((100_000, 1, 1)), np.ones((500, 1, 1, 1))
    tracemalloc.start()
    assert convolve(image, Convolution(filters))[0, 0, 0] == 100_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_minus_zero_never_appears() -> None:
    image = np.array([[[0.0, -0.0, 5.0]]])
    for activation in (None, "relu"):
        asked = Convolution(np.array([[[[-1.0]]]]), bias=-0.0, activation=activation)  # type: ignore[arg-type]
        assert not np.signbit(convolve(image, asked)[..., :2]).any()


@pytest.mark.parametrize("image", [[1e308, 1e308], [1e308, -1e308], [-1e308, -1e308]])
def test_a_result_beyond_a_double_is_refused_also_where_relu_would_hide_it(image: list[float]) -> None:
    asked = Convolution(np.full((1, 1, 1, 2), 10.0), activation="relu")
    with pytest.raises(InvalidRequest, match="too large for an IEEE double"):
        convolve(np.array([[image]]), asked)


def test_a_bias_that_takes_a_result_beyond_a_double_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="too large for an IEEE double"):
        convolve(np.array([[[1e308]]]), Convolution(np.ones((1, 1, 1, 1)), bias=1e308))


@settings(max_examples=60, deadline=None)
@given(
    image=st.lists(st.integers(-(2**53), 2**53), min_size=4, max_size=4),
    taps=st.lists(st.integers(-(2**20), 2**20), min_size=3, max_size=3),
    scale=st.integers(0, 53),
)
def test_whole_numbers_called_exact_are_what_pythons_integers_give(
    image: list[int], taps: list[int], scale: int
) -> None:
    cells = [cell >> scale for cell in image]
    asked = Convolution(np.array([[[taps]]], dtype=float), bias=3.0)
    array = np.array([[cells]], dtype=float)
    if is_exact(array, asked):
        windows = (cells[0:3], cells[1:4])
        expected = [sum(a * b for a, b in zip(window, taps, strict=True)) + 3 for window in windows]
        assert [int(number) for number in convolve(array, asked)[0, 0]] == expected


def test_only_whole_numbers_below_2_to_53_are_called_exact() -> None:
    image, one = np.array([[[3.0]]]), np.array([[[[1.0]]]])
    assert is_exact(image, Convolution(one))
    assert is_exact(np.array([[[2.0**53 - 1]]]), Convolution(one))
    assert not is_exact(np.array([[[2.0**53]]]), Convolution(one))
    assert not is_exact(image, Convolution(one * 2.0**52))
    assert not is_exact(image + 0.5, Convolution(one))
    assert not is_exact(image, Convolution(one / 2))
    assert not is_exact(image, Convolution(one, bias=(0.5,)))
    assert not is_exact(image, Convolution(one, bias=-(2.0**53)))
    assert not is_exact(image, Convolution(one, padding=1, padding_mode="constant", value=-(2.0**53)))
    assert not is_exact(image, Convolution(one, padding=1, padding_mode="constant", value=0.5))


def test_a_filter_larger_than_the_padded_image_is_refused_with_both_sizes() -> None:
    with pytest.raises(InvalidRequest, match="filter is 5×5 but the padded image is 4×4"):
        check_fits(plan((2, 2), (5, 5), padding=1), field="filter")
    with pytest.raises(
        InvalidRequest, match=r"filter is 2×3 \(4×7 when dilated\) but the padded image is 9×6"
    ):
        check_fits(plan((9, 6), (2, 3), dilation=(3, 3)), field="filter")


@pytest.mark.parametrize(
    ("options", "field", "says"),
    [
        ({"padding": 10**9}, "padding", "padded image would be 2000000006×2000000006×1, 40000000"),
        ({"padding": "full", "dilation": (10**9, 1)}, "padding", "the limit is 10000"),
        ({"outputs": 10**7}, "filter", "output would be 4×4×10000000, 160000000 cells; the limit is 10000"),
        ({"taps": 10**30}, "filter", "multiply-adds each are 16"),
        ({"channels": 10**9}, "image", "the image is 6×6×1000000000, 36000000000 cells"),
    ],
)
def test_absurd_sizes_are_refused_by_arithmetic_alone(options: dict[str, Any], field: str, says: str) -> None:
    cost = Cost(**{name: options.pop(name, 1) for name in Cost._fields})
    with pytest.raises(InvalidRequest, match=says) as caught:
        check_cost(plan((6, 6), (3, 3), **options), cost, LIMITS, field="filter")
    assert caught.value.errors[0].field == field


def test_a_limit_is_the_most_that_is_allowed() -> None:
    geometry = plan((6, 6), (3, 3), padding=1)
    check_cost(geometry, Cost(1, 1, 9), Limits(64, 36 * 9), field="filter")
    for limits in (Limits(63, 36 * 9), Limits(64, 36 * 9 - 1)):
        with pytest.raises(InvalidRequest):
            check_cost(geometry, Cost(1, 1, 9), limits, field="filter")


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(3, 6), st.integers(3, 6)),
    flip=st.booleans(),
    per_channel=st.booleans(),
    layout=st.sampled_from(["HWC", "CHW"]),
)
def test_steps_show_the_products_whose_sum_is_each_output_cell(
    seed: int, shape: Any, flip: bool, per_channel: bool, layout: Any
) -> None:
    kernels, channels, height, width = shape
    image, filters = (
        whole_numbers(seed, channels, height, width),
        whole_numbers(seed + 1, kernels, channels, 2, 3),
    )
    asked = Convolution(filters, padding=1, stride=(2, 1), flip=flip, bias=5, per_channel=per_channel)
    output = convolve(image, asked)
    shown = convolution_steps(image, asked, layout)
    assert len(shown) == output.size
    turned = filters[..., ::-1, ::-1] if flip else filters
    for step in shown:
        row, column, channel = step["row"], step["column"], step["channel"]
        assert step["sum"] + 5 == output[channel, row, column]
        assert np.sum(step["products"]) == step["sum"]
        taps = turned[channel % kernels, channel // kernels] if per_channel else turned[channel]
        if layout == "HWC" and not per_channel:
            taps = np.moveaxis(taps, 0, -1)
        np.testing.assert_array_equal(np.array(step["window"]) * taps, step["products"])
        assert type(step["sum"]) is int


def test_a_steps_window_holds_what_was_padded_and_keeps_the_images_layout() -> None:
    image = np.arange(1.0, 9.0).reshape(2, 2, 2)
    asked = Convolution(np.ones((1, 2, 2, 2)), padding=(1, 0, 0, 0), padding_mode="constant", value=9)
    first = convolution_steps(image, asked, "CHW")[0]
    assert first["window"] == [[[9, 9], [1, 2]], [[9, 9], [5, 6]]]
    first = convolution_steps(image, asked, "HWC")[0]
    assert first["window"] == [[[9, 9], [9, 9]], [[1, 5], [2, 6]]]
    flat = convolution_steps(image[:1], Convolution(np.ones((1, 1, 1, 2))), None)[1]
    assert flat == {
        **{"row": 1, "column": 0, "channel": 0},
        **{"window": [[3, 4]], "products": [[3, 4]], "sum": 7},
    }


def test_steps_of_whole_cells_under_a_broken_filter_keep_the_cells_whole() -> None:
    step = convolution_steps(ARTICLE, Convolution(np.full((1, 1, 1, 1), 0.5)), None)[0]
    assert (step["window"], step["products"], step["sum"]) == ([[10]], [[5.0]], 5.0)
    assert type(step["window"][0][0]) is int
    assert type(step["sum"]) is float
    step = convolution_steps(ARTICLE, Convolution(VERTICAL_EDGE, bias=0.5), None)[0]
    assert type(step["sum"]) is int


def test_more_steps_than_anyone_reads_are_refused_with_their_number() -> None:
    check_steps(plan((64, 64), (1, 1)), outputs=1, numbers_a_step=2)
    with pytest.raises(InvalidRequest, match="64×65×1, 4160 steps; at most 4096"):
        check_steps(plan((64, 65), (1, 1)), outputs=1, numbers_a_step=2)
    with pytest.raises(InvalidRequest, match="4096 steps of 250 numbers each are 1024000; at most 1000000"):
        check_steps(plan((64, 64), (1, 1)), outputs=1, numbers_a_step=250)


def test_every_padding_mode_of_the_contract_is_known() -> None:
    assert list(NUMPY_MODES) == ["zeros", "constant", "reflect", "symmetric", "replicate", "circular"]
