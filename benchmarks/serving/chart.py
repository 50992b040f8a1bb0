"""The comparison as a chart: one panel a payload, one bar a server, ours in colour. Plain SVG."""

from html import escape
from typing import Any

from benchmarks.serving.compare import CONNECTIONS, find

WIDTH, MARGIN, NAMES, FIGURES = 860, 24, 218, 76
ROW, BAR, TOP, GAP = 30, 18, 78, 64
STYLE = """
  text { font: 14px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 17px; font-weight: 600 }
  .panel { font-weight: 600 }
  .quiet { fill: #59636e; font-size: 12.5px }
  .bar { fill: #b6bfc9 } .ours { fill: #0969da }
  .ceiling { fill: none; stroke: #8c959f; stroke-dasharray: 3 3 }
  .mine { font-weight: 600 }
  .ground { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .quiet { fill: #9198a1 } .bar { fill: #4a525c } .ours { fill: #4493f8 }
    .ceiling { stroke: #6e7681 } .ground { fill: #0d1117 }
  }
"""
PANELS = (("small", "Small PNG, 32×32"), ("photo", "Photo, 1200×900 JPEG"))


def draw(result: dict[str, Any]) -> str:
    """Draw both panels, the fastest server first in each."""
    rows = [row for row in result["servers"] if not row["name"].endswith("-again")]
    crowd = max(CONNECTIONS)
    panel_height = len(rows) * ROW + GAP
    height = TOP + len(PANELS) * panel_height + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="title description">',
        '<title id="title">Requests a second, server by server</title>',
        f'<desc id="description">{escape(describe(rows))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="6"/>',
        text(MARGIN, 36, f"Requests a second, {crowd} connections", "title"),
        text(MARGIN, 57, subtitle(result), "quiet"),
    ]
    for position, (payload, name) in enumerate(PANELS):
        parts += panel(rows, payload, name, TOP + position * panel_height)
    return "\n".join([*parts, "</svg>\n"])


def panel(rows: list[dict[str, Any]], payload: str, name: str, top: float) -> list[str]:
    """Draw one payload's bars."""
    speeds = {row["name"]: find(row, payload, max(CONNECTIONS))["per_second"] for row in rows}
    ranked = sorted(rows, key=lambda row: -speeds[row["name"]])
    # The ceiling of the HTTP layer would leave no room for the servers that do the work: it is cut off.
    longest = max(speed for key, speed in speeds.items() if key != "bare" or len(speeds) == 1)
    scale = (WIDTH - 2 * MARGIN - NAMES - FIGURES) / longest
    parts = [text(MARGIN, top + 22, name, "panel")]
    for position, row in enumerate(ranked):
        y = top + 38 + position * ROW
        parts += bar(row, speeds[row["name"]], scale, longest, y)
    return parts


def bar(row: dict[str, Any], speed: float, scale: float, longest: float, y: float) -> list[str]:
    """Draw one server's name, bar and figure."""
    left, length = MARGIN + NAMES, min(speed, longest) * scale
    mine = row["name"].startswith("ours")
    kind = "ours" if mine else "ceiling" if row["name"] == "bare" else "bar"
    figure = f"{speed:,.0f}" + (" →" if speed > longest else "")
    label = "bare ASGI (HTTP's ceiling, cut)" if row["name"] == "bare" else row["label"]
    return [
        text(left - 10, y + 14, label, "mine" if mine else "", "end"),
        f'<rect class="{kind}" x="{left}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" rx="2"/>',
        text(left + length + 7, y + 14, figure, "mine" if mine else ""),
    ]


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Place one line of words."""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def subtitle(result: dict[str, Any]) -> str:
    """Say what the bars are of."""
    machine, method = result["machine"], result["method"]
    return (
        f"Each decodes the picture and classifies it with the same LeNet; {machine['cores']} cores, load "
        f"generator included; median of {method['rounds']} × {method['seconds']} s"
    )


def describe(rows: list[dict[str, Any]]) -> str:
    """Put the figures into words, for those who do not see the chart."""
    crowd = max(CONNECTIONS)
    return " ".join(
        f"{row['label']}: {find(row, 'small', crowd)['per_second']:,.0f} small pictures, "
        f"{find(row, 'photo', crowd)['per_second']:,.0f} photos."
        for row in rows
    )
