"""Convolve with large filters through the frequencies: f × f products a cell become a few dozen.

Overlap-save (Oppenheim & Schafer, "Discrete-Time Signal Processing", 8.7): the image is transformed tile by
tile, and of each tile's circular correlation the cells are kept that the wrap-around did not reach.
"""

import math
from collections.abc import Iterator

import numpy as np

from service.arithmetic.geometry import Geometry
from service.arithmetic.windows import Array

SMALLEST_TILE = 128  # its transforms stay in a core's cache
SPECTRUM_BYTES = 2**24  # the most that filters may take once transformed

SAMPLE = 4096
MOST_ABOVE_MEDIAN = 1e4

# Nanoseconds, measured (benchmarks/convolve.py): a cell's transform, there or back, and a product of
# frequencies for it; against a tap that is copied into place and one that is multiplied.
TRANSFORM_NS, FREQUENCY_NS = 3.5, 0.3
COPY_NS, MULTIPLY_NS = 0.18, 0.045


def tile_size(geometry: Geometry) -> int:
    """The side of a tile: a power of two, as the error bound wants it, some times the filter's reach."""
    reach = max(geometry.height.reach, geometry.width.reach)
    return max(SMALLEST_TILE, 1 << (2 * reach).bit_length())


def pays(geometry: Geometry, channels: int, kernels: int) -> bool:
    """Whether frequencies are the quicker way for `kernels` filters on the sum of `channels`."""
    tile = tile_size(geometry)
    if 8 * kernels * channels * tile * tile > SPECTRUM_BYTES:
        return False
    axes = (geometry.height, geometry.width)
    tiles = math.prod(-(-(axis.padded - axis.reach + 1) // (tile - axis.reach + 1)) for axis in axes)
    transforms = TRANSFORM_NS * (channels + kernels) + FREQUENCY_NS * channels * kernels
    taps = geometry.taps * channels
    direct = geometry.output_cells * taps * (COPY_NS + MULTIPLY_NS * kernels)
    return (tiles * tile * tile + kernels * channels * tile * tile) * transforms < direct


def error_bound(padded: Array, filters: Array, geometry: Geometry) -> float:
    """How far a sum may be off, at most.

    For a circular convolution of 2ⁿ points |x| |w| ((1 + ε)³ⁿ (1 + ε√5)³ⁿ⁺¹ (1 + ε)³ⁿ − 1), |·| the
    Euclidean norms (Percival 2003, "Rapid multiplication modulo the sum and difference of highly composite
    numbers", theorem 5.1), and every tile's norm is at most that of a tile full of the largest cell.
    """
    tile = tile_size(geometry)
    n = 2 * math.log2(tile)
    growth = np.finfo(np.float64).eps * (6 * n + math.sqrt(5) * (3 * n + 1)) * 1.01
    channels = filters.shape[1]
    pixels = float(np.abs(padded).max()) * tile
    with np.errstate(over="ignore"):
        norms = float(np.sqrt(np.square(filters).sum(axis=(2, 3))).max())
    return float(growth * pixels * norms * channels)


def is_even(padded: Array) -> bool:
    """Whether no cell towers above the others: its rounding errors would drown theirs, all over its tile."""
    cells = np.abs(padded.reshape(-1)[:: max(padded.size // SAMPLE, 1)])
    return float(np.abs(padded).max()) <= MOST_ABOVE_MEDIAN * float(np.median(cells))


def correlate_by_frequencies(padded: Array, filters: Array, geometry: Geometry, out: Array) -> None:
    """Write the sums of products of K×C×fh×fw filters on a padded C×H×W image into `out`, K×h×w."""
    height, width = geometry.height, geometry.width
    tile = tile_size(geometry)
    spread = np.zeros((*filters.shape[:2], height.reach, width.reach))
    spread[..., :: height.d, :: width.d] = filters
    spectra = np.conj(np.fft.rfft2(spread, s=(tile, tile)))
    for rows, top in steps(height.result, height.s, tile - height.reach + 1):
        for columns, left in steps(width.result, width.s, tile - width.reach + 1):
            block = np.fft.rfft2(padded[:, top : top + tile, left : left + tile], s=(tile, tile))
            for kernel, spectrum in enumerate(spectra):
                product = block[0] * spectrum[0]
                for channel in range(1, len(block)):
                    product += block[channel] * spectrum[channel]
                cells = np.fft.irfft2(product, s=(tile, tile))[:: height.s, :: width.s]
                place = out[kernel, rows, columns]
                place[:] = cells[: place.shape[0], : place.shape[1]]


def steps(results: int, stride: int, valid: int) -> Iterator[tuple[slice, int]]:
    """Share results out among tiles of `valid` cells each: which results, and where the tile begins."""
    each = (valid - 1) // stride + 1
    for first in range(0, results, each):
        yield slice(first, min(first + each, results)), first * stride
