"""Pad an image, and look at it through sliding windows without copying it."""

from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from service.arithmetic.geometry import Geometry

Array = NDArray[np.float64]
PaddingMode = Literal["zeros", "constant", "reflect", "symmetric", "replicate", "circular"]

NUMPY_MODES: dict[str, Any] = {
    "zeros": "constant",
    "constant": "constant",
    "reflect": "reflect",  # the edge is not repeated: c b | a b c | b a
    "symmetric": "symmetric",  # the edge is repeated: b a | a b c | c b
    "replicate": "edge",
    "circular": "wrap",
}


def pad(image: Array, geometry: Geometry, mode: PaddingMode = "zeros", value: float = 0.0) -> Array:
    """Pad a float64 C×H×W image as `geometry` says; `value` is for "constant" alone.

    Amounts larger than the image repeat the pattern, as `numpy.pad` does and torch does not.
    """
    height, width = geometry.height, geometry.width
    amounts = ((0, 0), (height.before, height.after), (width.before, width.after))
    if not any(map(any, amounts)):
        return image
    numpy_mode = NUMPY_MODES[mode]
    if numpy_mode != "constant":
        return np.pad(image, amounts, numpy_mode)
    return np.pad(image, amounts, constant_values=value if mode == "constant" else 0.0)


def look_through(padded: Array, geometry: Geometry) -> Array:
    """View a padded C×H×W image as C×h×w×fh×fw: one fh×fw window an output cell, nothing copied."""
    height, width = geometry.height, geometry.width
    windows = sliding_window_view(padded, (height.reach, width.reach), axis=(1, 2))
    return windows[:, :: height.s, :: width.s, :: height.d, :: width.d]
