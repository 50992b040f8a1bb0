"""Show the work: one entry an output cell, with its window and what became of it."""

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from service.arithmetic.convolution import Convolution, correlate, is_exact
from service.arithmetic.exactness import EXACT_BELOW, is_whole, largest_magnitude
from service.arithmetic.geometry import Geometry
from service.arithmetic.pooling import Pooling, pool
from service.arithmetic.windows import Array, look_through
from service.errors import InvalidRequest

Layout = Literal["HWC", "CHW"]
Step = dict[str, Any]

MAX_STEPS = 4096
MAX_STEP_NUMBERS = 1_000_000


def check_steps(geometry: Geometry, *, outputs: int, numbers_a_step: int) -> None:
    """Raise InvalidRequest where showing every step would be too much to read or to send."""
    steps = geometry.output_cells * outputs
    numbers = steps * numbers_a_step
    if steps > MAX_STEPS:
        size = "×".join(map(str, (*geometry.output, outputs)))
        raise InvalidRequest(
            f"the output is {size}, {steps} steps; at most {MAX_STEPS} are shown", field="steps"
        )
    if numbers > MAX_STEP_NUMBERS:
        raise InvalidRequest(
            f"{steps} steps of {numbers_a_step} numbers each are {numbers};"
            f" at most {MAX_STEP_NUMBERS} are shown",
            field="steps",
        )


def convolution_steps(image: Array, convolution: Convolution, layout: Layout | None) -> list[Step]:
    """Every output cell's `window`, `products` and their `sum`, before bias and activation.

    `layout` is the image's, None for H×W; windows and products keep it. With `per_channel` a window
    is fh×fw: it looks at one channel. Entries go row by row; a cell's channels follow each other.
    """
    seen = look_through(convolution.pad(image), convolution.plan(image))
    weights = convolution.weights
    weights = np.broadcast_to(weights, (len(weights), len(image), *weights.shape[2:]))
    if convolution.per_channel:  # both become C*K×...×fh×fw, channel-major
        windows = np.repeat(seen, len(weights), axis=0)
        taps = weights.swapaxes(0, 1).reshape(-1, *weights.shape[2:])
    else:  # every filter sees the same windows: K×h×w×C×fh×fw
        seen = _arrange(seen.transpose(1, 2, 0, 3, 4), layout)
        windows = np.broadcast_to(seen, (len(weights), *seen.shape))
        taps = _arrange(weights, layout)
    exact = is_exact(image, replace(convolution, bias=0.0))
    return _entries(
        window=_numbers(windows, exact=is_whole(seen) and largest_magnitude(seen) < EXACT_BELOW),
        products=_numbers(windows * taps[:, np.newaxis, np.newaxis], exact=exact),
        sum=_numbers(correlate(image, convolution), exact=exact),
    )


def pooling_steps(image: Array, pooling: Pooling, *, exact: bool) -> list[Step]:
    """Every output cell's `window`, null where max pooling was padded, and `result`."""
    windows = look_through(pooling.pad(image), pooling.plan(image))
    padding = np.isneginf(windows)
    whole = is_whole(image) and largest_magnitude(image) < EXACT_BELOW
    cells = _numbers(np.where(padding, 0.0, windows), exact=whole).astype(object)
    cells[padding] = None
    return _entries(window=cells, result=_numbers(pool(image, pooling), exact=exact))


def _arrange(windows: Array, layout: Layout | None) -> Array:
    """Bring ...×C×fh×fw into an image's own layout."""
    if layout is None:
        return windows[..., 0, :, :]
    return np.moveaxis(windows, -3, -1) if layout == "HWC" else windows


def _numbers(array: Array, *, exact: bool) -> np.ndarray[Any, Any]:
    return array.astype(np.int64) if exact else array + 0.0  # turns -0.0 into 0.0


def _entries(**columns: np.ndarray[Any, Any]) -> list[Step]:
    """Turn arrays that begin with outputs×h×w into one entry an output cell."""
    outputs, height, width = next(iter(columns.values())).shape[:3]
    places = [
        {"row": row, "column": column, "channel": channel}
        for row, column, channel in np.ndindex(height, width, outputs)
    ]
    for name, array in columns.items():
        cells = np.moveaxis(array, 0, 2).reshape(len(places), *array.shape[3:]).tolist()
        for place, cell in zip(places, cells, strict=True):
            place[name] = cell
    return places
