"""Reduce each window of an image to one number: its largest cell or its average, as pure functions."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from service.arithmetic.exactness import EXACT_BELOW, is_whole, largest_magnitude
from service.arithmetic.geometry import Axis, Geometry, Padding, Pair, plan
from service.arithmetic.windows import Array, pad
from service.errors import InvalidRequest


@dataclass(frozen=True)
class Pooling:
    """A window's size, how it slides and what it keeps; `stride` None is `size`, windows side by side."""

    size: Pair
    stride: Pair | None = None
    padding: Padding = "valid"
    kind: Literal["max", "average"] = "max"

    def plan(self, image: Array) -> Geometry:
        """Place this pooling's windows on a C×H×W image. Raises InvalidRequest for too much padding.

        A side padded by less than a window leaves every window at least one cell of the image.
        """
        height, width = image.shape[1:]
        stride = self.stride or self.size
        geometry = plan((height, width), self.size, padding=self.padding, stride=stride)
        for axis in (geometry.height, geometry.width):
            most = max(axis.before, axis.after)
            if most >= axis.f:
                raise InvalidRequest(
                    f"padding is {most} cells but size is {axis.f}: padding has to be smaller,"
                    " or a window would hold nothing but padding",
                    field="padding",
                )
        return geometry

    def pad(self, image: Array) -> Array:
        """Pad a C×H×W image: with cells that never win for "max", with zeros for "average"."""
        value = -np.inf if self.kind == "max" else 0.0
        return pad(image, self.plan(image), "constant", value)


def pool(image: Array, pooling: Pooling) -> Array:
    """Pool a float64 C×H×W image into float64 C×h×w, each channel by itself.

    Zeros of the padding count in an average, as torch's `count_include_pad=True`. Raises
    InvalidRequest where a window's sum is too large for a double. Sizes are the caller's to check.
    """
    geometry = pooling.plan(image)
    reduce = np.maximum.reduce if pooling.kind == "max" else np.add.reduce
    # The largest of a rectangle is the largest of its rows' largest, and so it is with sums: two
    # passes of f cells a window instead of one of f × f.
    reduced = pooling.pad(image)
    with np.errstate(over="ignore", invalid="ignore"):
        reduced = reduce(_strips(reduced, geometry.height, along=1), axis=0)
        reduced = reduce(_strips(reduced, geometry.width, along=2), axis=0)
    if pooling.kind == "average":
        reduced = reduced / geometry.taps
    if not np.isfinite(reduced).all():
        raise InvalidRequest(
            "a window's sum is too large for an IEEE double (about 1.8e308); scale the image",
            field="image",
        )
    output: Array = reduced + 0.0  # turns -0.0 into 0.0
    return output


def _strips(image: Array, axis: Axis, *, along: int) -> Array:
    """View windows along one axis, the window's own axis first, where NumPy reduces quickest."""
    windows = sliding_window_view(image, axis.f, axis=along)
    every = [slice(None)] * windows.ndim
    every[along] = slice(None, None, axis.s)
    strips: Array = np.moveaxis(windows[tuple(every)], -1, 0)
    return strips


def is_exact(image: Array, pooling: Pooling, output: Array) -> bool:
    """Whether the output is whole numbers, none of them rounded."""
    cells = pooling.size[0] * pooling.size[1] if pooling.kind == "average" else 1
    return is_whole(image) and is_whole(output) and largest_magnitude(image) * cells < EXACT_BELOW
