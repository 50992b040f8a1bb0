"""Slide filters over an image: convolution as a layer of a network has it, in float64, as pure functions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from service.arithmetic import fourier
from service.arithmetic.exactness import EXACT_BELOW, is_whole, largest_magnitude
from service.arithmetic.geometry import Cost, Geometry, Padding, Pair, plan
from service.arithmetic.windows import Array, PaddingMode, look_through, pad
from service.errors import InvalidRequest

# Windows are copied and multiplied block by block: a block and its results stay in a core's cache,
# which is quickest, and memory stays a small multiple of the image's own.
BLOCK_CELLS = 2**17
BLOCK_RESULTS = 2**14
# Up to here OpenBLAS multiplies on the calling thread. Its own threads are not wanted: requests run
# side by side already, and on busy cores its threads wait for each other (measured: 100 times as long).
BLOCK_MULTIPLY_ADDS = 2**18
# A whole number that is off by less than this is rounded to itself.
EXACT_WITHIN = 0.25
FAR_FROM_OVERFLOW = 1e280


@dataclass(frozen=True, eq=False)
class Convolution:
    """Filters, how they slide, and what is done with the sums.

    `filters` is float64 K×C×fh×fw for an image of C channels, or K×1×fh×fw, the same on every channel.
    `bias` is a number, or K of them. `per_channel` keeps channels apart instead of summing them: C*K
    outputs, channel-major as torch's groups.
    """

    filters: Array
    padding: Padding = "valid"
    padding_mode: PaddingMode = "zeros"
    value: float = 0.0
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    flip: bool = False
    bias: float | tuple[float, ...] = 0.0
    activation: Literal["relu"] | None = None
    per_channel: bool = False

    def plan(self, image: Array) -> Geometry:
        """Place this convolution's windows on a C×H×W image."""
        size, window = image.shape[1:], self.filters.shape[2:]
        return plan(
            (size[0], size[1]),
            (window[0], window[1]),
            padding=self.padding,
            stride=self.stride,
            dilation=self.dilation,
        )

    def pad(self, image: Array) -> Array:
        return pad(image, self.plan(image), self.padding_mode, self.value)

    @property
    def weights(self) -> Array:
        """The filters as they meet the image: turned by half a turn where `flip` asks so."""
        return self.filters[:, :, ::-1, ::-1] if self.flip else self.filters

    def cost(self, image: Array) -> Cost:
        kernels, _, height, width = self.filters.shape
        channels = len(image)
        if self.per_channel:
            return Cost(channels, kernels * channels, height * width)
        return Cost(channels, kernels, height * width * channels)


def convolve(image: Array, convolution: Convolution) -> Array:
    """Convolve a float64 C×H×W image into a float64 K×h×w output (C*K×h×w with `per_channel`).

    Cross-correlation, as deep learning means the word; the mathematician's with `flip`. The output's
    size is `Axis.result`. Large filters are applied through the frequencies; whole numbers stay exact
    (`is_exact`), others are off by no more than `fourier.error_bound`, in practice by some 10⁻¹⁵ of the
    largest sum. Raises InvalidRequest where a sum is too large for a double. Sizes are the caller's to
    check first (`check_fits`, `check_cost`).
    """
    sums = correlate(image, convolution)
    bias = np.asarray(convolution.bias, dtype=np.float64)
    if bias.any():
        kernels = len(convolution.filters)
        each = np.tile(np.broadcast_to(bias, (kernels,)), len(sums) // kernels)
        with np.errstate(over="ignore"):
            sums += each[:, np.newaxis, np.newaxis]
    check_finite(sums)
    if convolution.activation == "relu":
        np.maximum(sums, 0.0, out=sums)
    sums += 0.0  # turns -0.0 into 0.0
    return sums


def check_finite(output: Array) -> None:
    # The largest and the smallest are not finite if any is not: no array of truths is written.
    if not np.isfinite([output.max(), output.min()]).all():
        raise InvalidRequest(
            "a result is too large for an IEEE double (about 1.8e308); scale the image or the filter",
            field="image",
        )


def correlate(image: Array, convolution: Convolution) -> Array:
    """The sums of products alone: C×H×W to K×h×w or C*K×h×w, before bias and activation."""
    geometry, weights, padded = convolution.plan(image), convolution.weights, convolution.pad(image)
    kernels, channels = weights.shape[:2]
    if convolution.per_channel:  # every channel is an image of one channel
        each = np.broadcast_to(weights, (kernels, len(padded), *weights.shape[2:]))
        sums = np.empty((len(padded), kernels, *geometry.output))
        for index, out in enumerate(sums):
            _correlate(padded[index : index + 1], each[:, index : index + 1], geometry, out)
        return sums.reshape(-1, *geometry.output)
    with np.errstate(over="ignore"):  # `convolve` looks at the results
        if channels < len(padded):
            padded = padded.sum(axis=0, keepdims=True)  # what every channel meets alike
    sums = np.empty((kernels, *geometry.output))
    _correlate(padded, weights, geometry, sums)
    return sums


def _correlate(padded: Array, weights: Array, geometry: Geometry, out: Array) -> None:
    """Pick the quicker of two ways, where both hold what is promised, and write the sums into `out`."""
    if fourier.pays(geometry, len(padded), len(weights)):
        largest = largest_magnitude(padded)
        bound = fourier.error_bound(largest, weights, geometry)
        exact = is_whole(weights) and is_whole(padded)
        if bound < EXACT_WITHIN if exact else bound < FAR_FROM_OVERFLOW and fourier.is_even(padded, largest):
            fourier.correlate_by_frequencies(padded, weights, geometry, out)
            if exact:
                np.rint(out, out=out)
            return
    _correlate_by_windows(padded, weights, geometry, out)


def _correlate_by_windows(padded: Array, weights: Array, geometry: Geometry, out: Array) -> None:
    """Copy windows block by block into the columns of a matrix and multiply it with the filters' rows.

    ("im2col": Chellapilla et al. 2006, "High performance convolutional neural networks".)
    """
    kernels = len(weights)
    rows = weights.reshape(kernels, -1)
    with np.errstate(over="ignore", invalid="ignore"):  # `convolve` looks at the results
        # C×fh×fw×h×w: a block's copy then runs along the image's own rows.
        windows = look_through(padded, geometry).transpose(0, 3, 4, 1, 2)
        for down, across in _blocks(geometry.output, rows.shape[1], kernels):
            block = windows[..., down, across]
            products = _multiply(rows, block.reshape(rows.shape[1], -1))
            out[:, down, across] = products.reshape(kernels, *block.shape[-2:])


def _blocks(output: Pair, window_cells: int, kernels: int) -> Iterator[tuple[slice, slice]]:
    """Cut an output into blocks of whole rows, or of parts of one where a row is too much."""
    height, width = output
    most = max(min(BLOCK_CELLS // window_cells, BLOCK_RESULTS // kernels), 1)
    across = min(most, width)
    down = max(most // width, 1)
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield slice(top, top + down), slice(left, left + across)


def _multiply(rows: Array, columns: Array) -> Array:
    """Multiply matrices, so many taps at a time that each product is of BLOCK_MULTIPLY_ADDS at most."""
    taps = max(BLOCK_MULTIPLY_ADDS // (len(rows) * columns.shape[1]), 1)
    product: Array = rows[:, :taps] @ columns[:taps]
    for start in range(taps, len(columns), taps):
        product += rows[:, start : start + taps] @ columns[start : start + taps]
    return product


def is_exact(image: Array, convolution: Convolution) -> bool:
    """Whether the output is whole numbers, none of them rounded.

    True where image, filters, bias and padding value are whole and no sum of products can reach
    2**53, however it is ordered.
    """
    value = convolution.value if convolution.padding_mode == "constant" else 0.0
    bias = np.asarray(convolution.bias, dtype=np.float64)
    if not all(map(is_whole, (image, convolution.filters, bias, np.asarray(value)))):
        return False
    with np.errstate(over="ignore"):
        most = float(np.abs(convolution.filters).sum(axis=(1, 2, 3)).max())
    if convolution.filters.shape[1] == 1:
        most *= len(image)
    return max(largest_magnitude(image), abs(value)) * most + largest_magnitude(bias) < EXACT_BELOW
