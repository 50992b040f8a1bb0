"""The catalogue of named filters, from the article's edges to blurs: their numbers and what they find."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """A named matrix, applied by cross-correlation, and what it finds in a picture."""

    name: str
    matrix: Matrix
    finds: str


def _transpose(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _scale(matrix: Matrix, divisor: float) -> Matrix:
    return tuple(tuple(cell / divisor for cell in row) for row in matrix)


def _outer(line: Iterable[float]) -> Matrix:
    cells = tuple(line)
    return tuple(tuple(down * across for across in cells) for down in cells)


VERTICAL_EDGE: Matrix = ((1, 0, -1),) * 3
# x: brighter to the right is positive, y: brighter below is positive. OpenCV's signs.
SOBEL_X: Matrix = ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))  # Sobel & Feldman 1968
PREWITT_X: Matrix = ((-1, 0, 1),) * 3  # Prewitt 1970
SCHARR_X: Matrix = ((-3, 0, 3), (-10, 0, 10), (-3, 0, 3))  # Scharr 2000
BINOMIAL_3 = (1, 2, 1)  # Pascal's triangle, the whole-number Gaussian: Burt & Adelson 1983
BINOMIAL_5 = (1, 4, 6, 4, 1)
UNSHARP_5: Matrix = (  # twice the picture less its Gaussian blur, times 256
    (-1, -4, -6, -4, -1),
    (-4, -16, -24, -16, -4),
    (-6, -24, 476, -24, -6),
    (-4, -16, -24, -16, -4),
    (-1, -4, -6, -4, -1),
)
DIAGONAL_5: Matrix = tuple(tuple(float(row == column) for column in range(5)) for row in range(5))

_FILTERS = (
    # The two of the article this service grew from.
    Filter("vertical-edge", VERTICAL_EDGE, "vertical edges, bright left of dark positive"),
    Filter("horizontal-edge", _transpose(VERTICAL_EDGE), "horizontal edges, bright above dark positive"),
    Filter("sobel-x", SOBEL_X, "vertical edges, smoothed along the edge"),
    Filter("sobel-y", _transpose(SOBEL_X), "horizontal edges, smoothed along the edge"),
    Filter("prewitt-x", PREWITT_X, "vertical edges, evenly averaged along the edge"),
    Filter("prewitt-y", _transpose(PREWITT_X), "horizontal edges, evenly averaged along the edge"),
    Filter("scharr-x", SCHARR_X, "vertical edges, the same at every angle more nearly than Sobel"),
    Filter(
        "scharr-y", _transpose(SCHARR_X), "horizontal edges, the same at every angle more nearly than Sobel"
    ),
    # Roberts 1963: differences along the two diagonals.
    Filter("roberts-x", ((1, 0), (0, -1)), "edges that run from bottom left to top right"),
    Filter("roberts-y", ((0, 1), (-1, 0)), "edges that run from top left to bottom right"),
    # The second derivative's finite difference, over 4 and over 8 neighbours.
    Filter("laplacian-4", ((0, 1, 0), (1, -4, 1), (0, 1, 0)), "edges and spots in every direction"),
    Filter("laplacian-8", ((1, 1, 1), (1, -8, 1), (1, 1, 1)), "edges and spots, diagonals counted too"),
    Filter("identity", ((0, 0, 0), (0, 1, 0), (0, 0, 0)), "the picture itself, unchanged"),
    Filter("box-3", _scale(((1,) * 3,) * 3, 9), "the average of 3×3 cells: a slight blur"),
    Filter("box-5", _scale(((1,) * 5,) * 5, 25), "the average of 5×5 cells: a blur"),
    Filter("gaussian-3", _scale(_outer(BINOMIAL_3), 16), "a slight blur without the box's streaks"),
    Filter("gaussian-5", _scale(_outer(BINOMIAL_5), 256), "a blur without the box's streaks"),
    # The picture less its Laplacian.
    Filter("sharpen", ((0, -1, 0), (-1, 5, -1), (0, -1, 0)), "the picture with its edges stressed"),
    Filter("unsharp-mask", _scale(UNSHARP_5, 256), "the picture plus what a Gaussian blur took away"),
    Filter("emboss", ((-2, -1, 0), (-1, 1, 1), (0, 1, 2)), "relief, as if lit from the top left"),
    Filter("motion-blur", _scale(DIAGONAL_5, 5), "a smear from top left to bottom right"),
)

CATALOGUE: Mapping[str, Filter] = MappingProxyType({filter_.name: filter_ for filter_ in _FILTERS})
