"""Draw a training run: data in, SVG or HTML text out, in the colours and the type of the page around it."""

import base64
import html
import io
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.evaluate import BINS
from training.history import Row

# Stand-ins: matplotlib writes them, the page's style sheet says what they are, by day and by night.
INK, QUIET, LINE, CARD, FIRST, SECOND = (f"#01020{number}" for number in range(6))
COLOURS = {
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    LINE: "var(--line)",
    CARD: "var(--card)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
}
RIGHT, WRONG = (37, 99, 235), (194, 65, 12)  # RGB of a full cell; an emptier one lets the page through
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, and is wider than what the reader will have
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "lines.linewidth": 1.8,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",  # text stays text: any script, searchable, in the page's type
    "svg.hashsalt": "report",  # the same run, the same page
}
WIDTH = 5.0  # inches of 72 units: about as many units as a telephone has pixels, so type keeps its size
FEW = 40  # epochs: points are drawn as such
LONGEST = 14  # columns of a label beside the matrix
ROOM = 290  # units a side of the matrix itself, about
FINEST = 250  # cells a side of the matrix's picture
LARGEST = 96  # pixels a side of an embedded picture
MOST_FILTERS = 256
ONE_OR_THREE = {1: "L", 3: "RGB"}


@matplotlib.rc_context(STYLE)
def draw_curves(
    name: str, rows: Sequence[Row], lines: dict[str, str], *, percent: bool = False, from_zero: bool = False
) -> str:
    """Draw values by epoch as SVG; `lines` says which: {what the reader calls it: its key in a row}.

    A value that is missing, null or not finite leaves its point out. Gives "" if no point is left.
    """
    figure = Figure((WIDTH, 3.0))
    axes = figure.subplots()
    said = []
    for colour, (label, key) in zip((FIRST, SECOND), lines.items(), strict=False):
        points = [(row["epoch"], value) for row in rows if (value := finite(row.get(key))) is not None]
        if not points:
            continue
        epochs, values = zip(*points, strict=True)
        axes.plot(
            epochs,
            values,
            color=colour,
            label=label,
            marker="o" if len(points) <= FEW else None,
            clip_on=False,
        )
        first, last = (f"{value:.1%}" if percent else f"{value:.4g}" for value in (values[0], values[-1]))
        said.append(f"{label} {first} in epoch {epochs[0]}, {last} in epoch {epochs[-1]}")
    if not said:
        return ""
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    if len(rows) == 1:
        axes.set_xlim(rows[0]["epoch"] - 1, rows[0]["epoch"] + 1)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    if from_zero:
        axes.set_ylim(bottom=0)
    if len(lines) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)
    return as_svg(figure, name, "; ".join(said))


def finite(value: object) -> float | None:
    """Take a number that can be drawn: not null, not a word, not infinite."""
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None  # type: ignore[arg-type]


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
        slanted = {"rotation": 50, "rotation_mode": "anchor", "ha": "right", "va": "center"}
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


@matplotlib.rc_context(STYLE)
def draw_reliability(confidence: Tensor, correct: Tensor) -> str:
    """Draw accuracy by confidence in 15 bins, over how many pictures each has, as SVG.

    Takes float N in 0..1 and bool N. The bins are those of the calibration error.
    """
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    counts = torch.bincount(bins, minlength=BINS)
    hits = torch.bincount(bins, weights=correct.double(), minlength=BINS)
    used = counts > 0
    left = (torch.arange(BINS)[used] / BINS).tolist()
    accuracy = (hits[used] / counts[used]).tolist()
    figure = Figure((WIDTH, 4.4))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    wide = {"width": 1 / BINS, "align": "edge", "edgecolor": CARD, "linewidth": 1.2}
    upper.bar(left, accuracy, color=FIRST, label="recognised", **wide)
    upper.plot([0, 1], [0, 1], color=SECOND, linestyle=(0, (4, 3)), label="as sure as right")
    upper.set_ylabel("accuracy")
    upper.set_ylim(0, 1.02)
    upper.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderpad=0)
    lower.bar(left, (counts[used] / len(bins)).tolist(), color=QUIET, **wide)
    lower.set_xlabel("confidence")
    lower.set_ylabel("pictures")
    lower.set_xlim(0, 1)
    for axes in (upper, lower):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    lower.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.align_ylabels()
    alt = "; ".join(
        f"confidence {low:.0%} to {low + 1 / BINS:.0%}: accuracy {high:.0%}"
        for low, high in zip(left, accuracy, strict=True)
    )
    return as_svg(figure, "reliability", f"Accuracy by confidence; {alt}")


def draw_filters(filters: Tensor | None) -> list[str]:
    """Draw float32 K×C×F×F as K `<img>`s (256 at most), each scaled to its own least and largest weight.

    Gives none where filters are not of 1 or 3 channels: such have no colours.
    """
    if filters is None or filters.shape[1] not in ONE_OR_THREE:
        return []
    filters = filters[:MOST_FILTERS]
    least, largest = filters.amin((1, 2, 3), keepdim=True), filters.amax((1, 2, 3), keepdim=True)
    scaled = (filters - least) / (largest - least).clamp(min=1e-12) * 255
    return [draw_picture(each, "") for each in scaled.round().byte()]


def draw_picture(picture: Tensor, alt: str) -> str:
    """Give uint8 C×H×W, 0..255, C of 1 or 3, as an `<img>` that holds it, made smaller than 96 pixels."""
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(pixels[..., 0] if len(picture) == 1 else pixels, ONE_OR_THREE[len(picture)])
    image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    small = ' class="small"' if image.width <= LARGEST // 2 else ""
    return f'<img{small} alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


def as_svg(figure: Figure, name: str, alt: str, stand_ins: dict[str, str] | None = None) -> str:
    """Write a figure as SVG to stand in a page among others: own ids, the page's colours and type.

    `stand_ins`, {what was drawn: what is to be read}, puts in words that matplotlib would not draw.
    """
    file = io.StringIO()
    empty = dict.fromkeys(("Date", "Creator", "Type", "Format"))
    figure.savefig(file, format="svg", transparent=True, metadata=empty)
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'((?:\bid=|href=)"#?|url\(#)(?!data:)', rf"\g<1>{name}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    for drawn, meant in COLOURS.items():
        text = text.replace(drawn, meant)
    if stand_ins:
        text = re.sub(r"(?<=>)@\d+@n*(?=<)", lambda found: html.escape(stand_ins[found[0]]), text)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"\n\s*", "\n", body)
    return f'<svg {view[0]} role="img" aria-label="{html.escape(alt)}">{body.rstrip()}'


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
