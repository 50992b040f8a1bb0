"""Where windows fall on a matrix: padding in cells, the output's size, and what the work will cost."""

from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

from service.errors import InvalidRequest

Pair = tuple[int, int]
PaddingWord = Literal["valid", "same", "full"]
Padding = PaddingWord | int | tuple[int, ...]

FORMULA = "floor((n + 2p - f) / s) + 1"
DILATED_FORMULA = "floor((n + 2p - d(f - 1) - 1) / s) + 1"


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a sliding window, in the article's letters; every number counts cells."""

    n: int  # the matrix
    before: int  # padding above it, or to its left
    after: int  # padding below it, or to its right
    f: int  # the filter
    s: int  # the stride
    d: int  # the dilation

    @property
    def padded(self) -> int:
        return self.n + self.before + self.after

    @property
    def reach(self) -> int:
        """Cells from the first a window touches to the last: the filter's size once dilated."""
        return self.d * (self.f - 1) + 1

    @property
    def result(self) -> int:
        """floor((n + 2p - f) / s) + 1: the article's formula; dilation as in Dumoulin & Visin 2016.

        (V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", relation 15.)
        """
        return (self.padded - self.reach) // self.s + 1


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the windows of a convolution or a pooling fall."""

    height: Axis
    width: Axis

    @property
    def output(self) -> Pair:
        return self.height.result, self.width.result

    @property
    def output_cells(self) -> int:
        return self.height.result * self.width.result

    @property
    def taps(self) -> int:
        return self.height.f * self.width.f


class Cost(NamedTuple):
    """What a geometry is multiplied by."""

    channels: int  # of the image
    outputs: int  # channels of the output
    taps: int  # multiply-adds of one output cell


class Limits(NamedTuple):
    """The most one request may ask for."""

    max_cells: int
    max_multiply_adds: int


def plan(
    image: Pair,
    window: Pair,
    *,
    padding: Padding = "valid",
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
) -> Geometry:
    """Resolve `padding` and place windows of `window` cells on an `image`; sizes are (height, width).

    "valid" pads nothing. "full" pads d(f - 1) on each side, so that every overlap counts. "same" pads
    for an output of ceil(n / s), the odd cell at the bottom and the right as torch and TensorFlow have
    it, whether or not the filter is flipped. Or cells: p, (vertical, horizontal), or (top, bottom,
    left, right). Whether the windows fit is `check_fits`'s to say.
    """
    axes = []
    for axis in (0, 1):
        n, f, s, d = image[axis], window[axis], stride[axis], dilation[axis]
        before, after = _sides(padding, axis, n, s, reach=d * (f - 1) + 1)
        axes.append(Axis(n, before, after, f, s, d))
    return Geometry(*axes)


def _sides(padding: Padding, axis: int, n: int, s: int, *, reach: int) -> Pair:
    match padding:
        case "valid":
            return 0, 0
        case "full":
            return reach - 1, reach - 1
        case "same":
            total = max((-(-n // s) - 1) * s + reach - n, 0)
            return total // 2, total - total // 2
        case int(cells):
            return cells, cells
        case (_, _):
            return padding[axis], padding[axis]
        case (_, _, _, _):
            return padding[2 * axis], padding[2 * axis + 1]
    raise InvalidRequest(f"padding {padding!r} is not a padding", field="padding")


def check_fits(geometry: Geometry, *, field: str) -> None:
    """Raise InvalidRequest unless one window fits; `field` names what slides and is blamed."""
    height, width = geometry.height, geometry.width
    if height.reach <= height.padded and width.reach <= width.padded:
        return
    dilated = ""
    if (height.reach, width.reach) != (height.f, width.f):
        dilated = f" ({height.reach}×{width.reach} when dilated)"
    raise InvalidRequest(
        f"{field} is {height.f}×{width.f}{dilated} but the padded image is {height.padded}×{width.padded}",
        field=field,
    )


def check_cost(geometry: Geometry, cost: Cost, limits: Limits, *, field: str) -> None:
    """Raise InvalidRequest where the padded image, the output or the work is too much.

    Integers only and nothing allocated, so that absurd sizes are refused at once.
    """
    height, width = geometry.height, geometry.width
    padded = (height.padded, width.padded, cost.channels)
    if padded[:2] == (height.n, width.n):
        _check_cells("the image is", padded, limits, field="image")
    else:
        _check_cells("the padded image would be", padded, limits, field="padding")
    output = (*geometry.output, cost.outputs)
    _check_cells("the output would be", output, limits, field=field)
    cells = prod(output)
    if cells * cost.taps > limits.max_multiply_adds:
        raise InvalidRequest(
            f"{cells} output cells of {cost.taps} multiply-adds each are {cells * cost.taps};"
            f" the limit is {limits.max_multiply_adds}: take a smaller {field} or a larger stride",
            field=field,
        )


def _check_cells(what: str, shape: tuple[int, ...], limits: Limits, *, field: str) -> None:
    cells = prod(shape)
    if cells > limits.max_cells:
        size = "×".join(map(str, shape))
        raise InvalidRequest(f"{what} {size}, {cells} cells; the limit is {limits.max_cells}", field=field)


def describe_size(geometry: Geometry) -> dict[str, object]:
    """The `size` of an answer: the formula, and its letters for each axis."""
    dilated = (geometry.height.d, geometry.width.d) != (1, 1)
    return {
        "formula": DILATED_FORMULA if dilated else FORMULA,
        "height": _letters(geometry.height, dilated=dilated),
        "width": _letters(geometry.width, dilated=dilated),
    }


def _letters(axis: Axis, *, dilated: bool) -> dict[str, int | float]:
    total = axis.before + axis.after
    letters: dict[str, int | float] = {"n": axis.n}
    # 2p has to be both sides together for the formula to hold, hence a half where one cell is odd.
    letters["p"] = total / 2 if total % 2 else total // 2
    letters["f"] = axis.f
    if dilated:
        letters["d"] = axis.d
    letters |= {"s": axis.s, "result": axis.result}
    if axis.before != axis.after:
        letters |= {"before": axis.before, "after": axis.after}
    return letters
