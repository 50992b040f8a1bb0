"""Draw curves and bars: figures of a run in, SVG text out."""

from collections.abc import Sequence

import matplotlib
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from training.evaluate import BINS
from training.history import Row
from training.report.numbers import finite
from training.report.svg import CARD, FIRST, QUIET, SECOND, STYLE, as_svg

WIDTH = 5.0  # inches of 72 units: about as many units as a telephone has pixels, so type keeps its size
FEW = 40  # epochs: points are drawn as such


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
