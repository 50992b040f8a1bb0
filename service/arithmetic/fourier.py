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
SPECTRUM_BYTES = 2**24  # of filters once transformed: so many of them are applied in one go

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


def at_once(tile: int, channels: int) -> int:
    """How many filters' spectra there is room for; 0 where a single one takes too much."""
    return SPECTRUM_BYTES // (8 * tile * tile * channels)


def pays(geometry: Geometry, channels: int, kernels: int) -> bool:
    """Whether frequencies are the quicker way for `kernels` filters on the sum of `channels`."""
    tile = tile_size(geometry)
    together = at_once(tile, channels)
    if not together:
        return False
    axes = (geometry.height, geometry.width)
    tiles = math.prod(-(-(axis.padded - axis.reach + 1) // (tile - axis.reach + 1)) for axis in axes)
    images = channels * -(-kernels // together)
    spectra = TRANSFORM_NS * kernels * channels
    each = TRANSFORM_NS * (images + kernels) + FREQUENCY_NS * channels * kernels
    taps = geometry.taps * channels
    direct = geometry.output_cells * taps * (COPY_NS + MULTIPLY_NS * kernels)
    return (tiles * each + spectra) * tile * tile < direct


def error_bound(largest: float, filters: Array, geometry: Geometry) -> float:
    """How far a sum may be off, at most; `largest` is the image's largest magnitude.

    For a circular convolution of 2ⁿ points |x| |w| ((1 + ε)³ⁿ (1 + ε√5)³ⁿ⁺¹ (1 + ε)³ⁿ − 1), |·| the
    Euclidean norms (Percival 2003, "Rapid multiplication modulo the sum and difference of highly composite
    numbers", theorem 5.1), and every tile's norm is at most that of a tile full of the largest cell.
    Channels are added up one by one, with one rounding more for each.
    """
    tile = tile_size(geometry)
    n = 2 * math.log2(tile)
    channels = filters.shape[1]
    growth = np.finfo(np.float64).eps * (6 * n + math.sqrt(5) * (3 * n + 1) + channels) * 1.01
    with np.errstate(over="ignore"):
        norms = float(np.sqrt(np.square(filters).sum(axis=(2, 3))).max())
    return float(growth * largest * tile * norms * channels)


def is_even(padded: Array, largest: float) -> bool:
    """Whether no cell towers above the others: its rounding errors would drown theirs, all over its tile.

    Cells that are 0 do not count: most of a drawing is.
    """
    cells = padded.reshape(-1)[:: max(padded.size // SAMPLE, 1)]
    cells = cells[cells != 0]
    if not cells.size:
        cells = padded[padded != 0]  # few, as the sample has none
    return not cells.size or largest <= MOST_ABOVE_MEDIAN * float(np.median(np.abs(cells)))


def correlate_by_frequencies(padded: Array, filters: Array, geometry: Geometry, out: Array) -> None:
    """Write the sums of products of K×C×fh×fw filters on a padded C×H×W image into `out`, K×h×w."""
    together = max(at_once(tile_size(geometry), len(padded)), 1)
    for first in range(0, len(filters), together):
        some = slice(first, first + together)
        _correlate_some(padded, filters[some], geometry, out[some])


def _correlate_some(padded: Array, filters: Array, geometry: Geometry, out: Array) -> None:
    height, width = geometry.height, geometry.width
    tile = tile_size(geometry)
    spread = np.zeros((*filters.shape[:2], height.reach, width.reach))
    spread[..., :: height.d, :: width.d] = filters
    spectra = np.conj(np.fft.rfft2(spread, s=(tile, tile)))
    for rows, top in steps(height.result, height.s, tile - height.reach + 1):
        for columns, left in steps(width.result, width.s, tile - width.reach + 1):
            image = np.fft.rfft2(padded[:, top : top + tile, left : left + tile], s=(tile, tile))
            for place, spectrum in zip(out[:, rows, columns], spectra, strict=True):
                product = image[0] * spectrum[0]
                for channel in range(1, len(image)):
                    product += image[channel] * spectrum[channel]
                # Down first: of rows that are not wanted nothing more is computed.
                lines = np.fft.ifft(product, axis=0)[: height.s * len(place) : height.s]
                place[:] = np.fft.irfft(lines, tile)[:, : width.s * place.shape[1] : width.s]


def steps(results: int, stride: int, valid: int) -> Iterator[tuple[slice, int]]:
    """Share results out among tiles of `valid` cells each: which results, and where the tile begins."""
    each = (valid - 1) // stride + 1
    for first in range(0, results, each):
        yield slice(first, min(first + each, results)), first * stride
