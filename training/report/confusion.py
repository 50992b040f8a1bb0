"""Draw which classes are taken for which, for 2 classes or 1,000, in any script."""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from training.report.svg import CARD, INK, STYLE, as_svg

RIGHT, WRONG = (37, 99, 235), (194, 65, 12)  # RGB of a full cell; an emptier one lets the page through
LONGEST = 14  # columns of a label beside the matrix
ROOM = 290  # units a side of the matrix itself, about
FINEST = 250  # cells a side of the matrix's picture


@matplotlib.rc_context(STYLE)
def draw_confusion(matrix: Tensor, labels: Sequence[str]) -> str:
    """Draw int64 classes×classes counts (rows: the true class) as SVG, each row by its own share.

    Counts stand in cells, and labels beside them, where there is room. Of more than 250 classes
    several share a cell, which shows the largest of their shares.
    """
    classes = len(matrix)
    figure = Figure((5.4, 5.4))
    axes = figure.subplots()
    axes.imshow(
        colour_cells(matrix),
        interpolation="none",
        extent=(-0.5, classes - 0.5, classes - 0.5, -0.5),
    )
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    cell = ROOM / classes
    stand_ins: dict[str, str] = {}
    if cell >= 7:
        stand_ins = {stand_in(index, label): shorten(label) for index, label in enumerate(labels)}
        size = min(11, cell * 0.85)
        slanted: Any = {"rotation": 50, "rotation_mode": "anchor", "ha": "right", "va": "center"}
        axes.set_xticks(range(classes), stand_ins, fontsize=size, color=INK, **slanted)
        axes.set_yticks(range(classes), stand_ins, fontsize=size, color=INK)
        edges = [index + 0.5 for index in range(classes - 1)]
        axes.hlines(edges, -0.5, classes - 0.5, color=CARD, linewidth=1)
        axes.vlines(edges, -0.5, classes - 0.5, color=CARD, linewidth=1)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    size = min(11, cell / (0.72 * len(str(int(matrix.max())))))
    if size >= 6:
        shares = share_of_row(matrix)
        for row, column in matrix.nonzero().tolist():
            colour = "#ffffff" if shares[row, column] > 0.6 else INK
            count = str(int(matrix[row, column]))
            axes.text(column, row, count, ha="center", va="center", fontsize=size, color=colour)
    right, total = int(matrix.diag().sum()), int(matrix.sum())
    alt = f"Confusion matrix of {classes} classes: {right:,} of {total:,} pictures lie on its diagonal"
    return as_svg(figure, "confusion", alt, stand_ins)


def share_of_row(matrix: Tensor) -> Tensor:
    """Divide each row by its sum: int64 classes×classes -> float32 in 0..1; an empty row stays 0."""
    return matrix / matrix.sum(1, keepdim=True).clamp(min=1)


def colour_cells(matrix: Tensor) -> NDArray[np.uint8]:
    """Give a picture of the matrix: RGBA uint8 n×n×4, n at most 250; the more, the less transparent."""
    shares = share_of_row(matrix).float()
    diagonal = torch.eye(len(matrix)) * shares
    stride = math.ceil(len(matrix) / FINEST)
    hits, misses = (
        F.max_pool2d(each[None, None], stride, ceil_mode=True)[0, 0] for each in (diagonal, shares - diagonal)
    )
    hit = (hits >= misses) & (hits > 0)
    colours = torch.where(hit[..., None], torch.tensor(RIGHT), torch.tensor(WRONG))
    # The square root: one mistake in a hundred is still seen.
    opacity = (torch.where(hit, hits, misses).sqrt() * 255)[..., None]
    return torch.cat((colours, opacity), 2).byte().numpy()


def stand_in(index: int, label: str) -> str:
    """Name a label in ASCII, as wide as it will be: matplotlib has not every glyph, and reads `$`."""
    return f"@{index}@".ljust(columns(shorten(label)), "n")


def shorten(label: str) -> str:
    """Cut a label to the room beside the matrix."""
    if columns(label) <= LONGEST:
        return label
    kept = ""
    for sign in label:
        if columns(kept + sign) >= LONGEST:
            break
        kept += sign
    return f"{kept.rstrip()}…"


def columns(text: str) -> int:
    """Count how many letters wide a text is: a Chinese sign takes the room of two."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)
