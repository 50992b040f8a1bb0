"""Slide filters over an image: convolution as a layer of a network has it, in float64, as pure functions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from service.errors import InvalidRequest
from service.exactness import EXACT_BELOW, is_whole, largest_magnitude
from service.geometry import Cost, Geometry, Padding, Pair, plan
from service.windows import Array, PaddingMode, look_through, pad

# One block of windows is copied at a time: half a megabyte stays in a core's cache, so this is also
# the quickest size, and memory stays a small multiple of the image's own.
BLOCK_CELLS = 2**16
# Below this OpenBLAS multiplies on the calling thread. Its own threads cost more than they bring
# here: requests already run side by side, and on busy cores they wait for each other.
BLOCK_MULTIPLY_ADDS = 2**18


@dataclass(frozen=True, eq=False)
class Convolution:
    """Filters, how they slide, and what is done with the sums.

    `filters` is float64 K×C×fh×fw; C is the image's channels. `bias` is a number, or K of them.
    `per_channel` keeps the image's channels apart: C*K outputs, channel-major as torch's groups.
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

    @property
    def cost(self) -> Cost:
        kernels, channels, height, width = self.filters.shape
        if self.per_channel:
            return Cost(channels, kernels * channels, height * width)
        return Cost(channels, kernels, height * width * channels)


def convolve(image: Array, convolution: Convolution) -> Array:
    """Convolve a float64 C×H×W image into a float64 K×h×w output (C*K×h×w with `per_channel`).

    Cross-correlation, as deep learning means the word; the mathematician's with `flip`. The output's
    size is `Axis.result`. Raises InvalidRequest where a sum is too large for a double. Sizes are the
    caller's to check first (`check_fits`, `check_cost`).
    """
    output = correlate(image, convolution) + _one_an_output(convolution)
    if not np.isfinite(output).all():
        raise InvalidRequest(
            "a result is too large for an IEEE double (about 1.8e308); scale the image or the filter",
            field="image",
        )
    if convolution.activation == "relu":
        output = np.maximum(output, 0.0)
    return output + 0.0  # turns -0.0 into 0.0


def correlate(image: Array, convolution: Convolution) -> Array:
    """The sums of products alone: C×H×W to K×h×w or C*K×h×w, before bias and activation.

    Windows are copied block by block into the columns of a matrix and multiplied with the filters'
    rows ("im2col": Chellapilla et al. 2006, "High performance convolutional neural networks").
    """
    geometry = convolution.plan(image)
    weights = convolution.weights
    kernels, channels = weights.shape[:2]
    groups = channels if convolution.per_channel else 1
    if convolution.per_channel:
        weights = weights.swapaxes(0, 1)
    rows = weights.reshape(groups, kernels, -1)
    # C×fh×fw×h×w: a block's copy then runs along the image's own rows.
    windows = look_through(convolution.pad(image), geometry).transpose(0, 3, 4, 1, 2)
    sums = np.empty((groups, kernels, *geometry.output))
    with np.errstate(over="ignore", invalid="ignore"):  # `convolve` looks at the results
        for down, across in _blocks(geometry.output, windows[..., 0, 0].size, kernels):
            block = windows[..., down, across]
            products = rows @ block.reshape(groups, rows.shape[2], -1)
            sums[..., down, across] = products.reshape(groups, kernels, *block.shape[-2:])
    return sums.reshape(groups * kernels, *geometry.output)


def _blocks(output: Pair, window_cells: int, kernels: int) -> Iterator[tuple[slice, slice]]:
    """Cut an output into blocks of whole rows, or of parts of one where a row is too much."""
    height, width = output
    most = min(BLOCK_CELLS // window_cells, BLOCK_MULTIPLY_ADDS // (window_cells * kernels))
    across = min(max(most, 1), width)
    down = max(most // width, 1)
    for top in range(0, height, down):
        for left in range(0, width, across):
            yield slice(top, top + down), slice(left, left + across)


def _one_an_output(convolution: Convolution) -> Array:
    """The bias as outputs×1×1: filter k's at every channel's k-th output."""
    kernels = convolution.filters.shape[0]
    bias = np.broadcast_to(np.asarray(convolution.bias, dtype=np.float64), (kernels,))
    return np.tile(bias, convolution.cost.outputs // kernels)[:, np.newaxis, np.newaxis]


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
    return max(largest_magnitude(image), abs(value)) * most + largest_magnitude(bias) < EXACT_BELOW
