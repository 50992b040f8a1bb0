"""matplotlib's figures as SVG text, in the colours and the type of the page around them."""

import html
import io
import re
from typing import Any

from matplotlib.figure import Figure

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
