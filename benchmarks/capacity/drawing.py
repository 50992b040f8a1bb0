"""The charts of docs/scaling.md, plain SVG in the style of the other benchmarks' charts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from benchmarks.capacity.cases import find
from benchmarks.serving.chart import MARGIN, STYLE, WIDTH, text

Figures = Mapping[str, Any]
COLOURS = ("#0969da", "#9a6700", "#1a7f37")
DARK = ("#4493f8", "#d29922", "#3fb950")
ROW, BAR, TOP, NAMES = 27, 17, 108, 372
THREADS = {"loop_us": "event loop", "model_us": "model's thread", "workers_us": "workers: decoding, matrices"}


def frame(height: float, title: str, description: str, parts: Iterable[str]) -> str:
    """Put a drawing's parts into a file."""
    rules = "".join(f".s{i} {{ fill: {c} }} .l{i} {{ stroke: {c} }} " for i, c in enumerate(COLOURS))
    dark = "".join(f".s{i} {{ fill: {c} }} .l{i} {{ stroke: {c} }} " for i, c in enumerate(DARK))
    lines = (
        " .line { fill: none; stroke-width: 2 } .thin { stroke: #8c959f; stroke-opacity: 0.35 } "
        f".dash {{ stroke-dasharray: 5 4 }} {rules} @media (prefers-color-scheme: dark) {{ {dark} }} "
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
            f'height="{height:.0f}" role="img" aria-labelledby="title description">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="description">{escape(description)}</desc>',
            f"<style>{STYLE}{lines}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{height:.0f}" rx="6"/>',
            text(MARGIN, 36, title, "title"),
            *parts,
            "</svg>\n",
        ]
    )


def legend(x: float, y: float, names: Sequence[str]) -> list[str]:
    """Say which colour is what, in a row."""
    parts = []
    for index, name in enumerate(names):
        parts.append(f'<rect class="s{index}" x="{x:.1f}" y="{y - 10:.1f}" width="11" height="11" rx="2"/>')
        parts.append(text(x + 16, y, name, "quiet"))
        x += 40 + 6.7 * len(name)
    return parts


def core(measured: Figures) -> str:
    """Draw what a core answers of each request, and which thread spends it."""
    rows = measured["throughput"]
    parts = [
        text(MARGIN, 57, "Bars: which thread spends the time of a full core; figures: requests/s", "quiet")
    ]
    parts += legend(MARGIN, 82, list(THREADS.values()))
    width = WIDTH - 2 * MARGIN - NAMES - 70
    for position, row in enumerate(rows):
        y, left = TOP + position * ROW, float(MARGIN + NAMES)
        name = find(row["case"]).label.replace("`", "") + (f" · {row['model']}" if row["model"] else "")
        parts.append(text(left - 10, y + 13, name, "quiet", "end"))
        for index, key in enumerate(THREADS):
            long = row[key] / row["all_us"] * width
            parts.append(
                f'<rect class="s{index}" x="{left:.1f}" y="{y}" width="{max(0.0, long - 1):.1f}" '
                f'height="{BAR}"/>'
            )
            left += long
        parts.append(text(WIDTH - MARGIN, y + 13, f"{row['per_core']:,.0f}", "mine", "end"))
    words = " ".join(f"{row['case']} {row['model'] or ''}: {row['per_core']:,.0f} a second." for row in rows)
    return frame(
        TOP + len(rows) * ROW + 16, "What one core answers, and what it spends its time on", words, parts
    )


class Axes(NamedTuple):
    """A panel: where it lies, and what its edges mean; the second logarithmic where `is_log`."""

    left: float
    top: float
    width: float
    height: float
    across: tuple[float, float]
    up: tuple[float, float]
    is_log: bool = False

    def x(self, value: float) -> float:
        low, high = self.across
        return self.left + (value - low) / (high - low) * self.width

    def y(self, value: float) -> float:
        low, high = self.up
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        part = min(1.0, max(0.0, (value - low) / (high - low)))
        return self.top + (1 - part) * self.height

    def line(self, points: Iterable[tuple[float, float]], kind: str) -> str:
        way = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return f'<polyline class="line {kind}" points="{way}"/>'

    def rules(self, marks: Sequence[float], unit: str = "") -> list[str]:
        """Draw level lines with their figures."""
        parts = []
        for mark in marks:
            y = self.y(mark)
            parts.append(
                f'<line class="thin" x1="{self.left:.1f}" x2="{self.left + self.width:.1f}" '
                f'y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            parts.append(text(self.left - 6, y + 4, f"{mark:,.0f}{unit}", "quiet", "end"))
        return parts


def check(checked: Figures) -> str:
    """Draw p50 and p99 by load, measured as dots and simulated as lines."""
    kinds = list(dict.fromkeys((row["case"], row["model"]) for row in checked["rows"]))
    room = (WIDTH - 2 * MARGIN) / len(kinds)
    parts = [
        text(
            MARGIN,
            57,
            "Milliseconds by load (of what a core answers at most); dots: measured, lines: simulated",
            "quiet",
        )
    ]
    parts += legend(MARGIN, 82, ["p50", "p99"])
    words = []
    for position, kind in enumerate(kinds):
        rows = [row for row in checked["rows"] if (row["case"], row["model"]) == kind]
        axes = Axes(MARGIN + position * room + 46, 124, room - 66, 200, (0.2, 1.25), (0.5, 5000), is_log=True)
        parts.append(text(axes.left, 112, f"{kind[0]}, {kind[1]}", "panel"))
        parts += axes.rules((1, 10, 100, 1000))
        for index, key in enumerate(("p50_ms", "p99_ms")):
            parts.append(axes.line(((row["load"], row["simulated"][key]) for row in rows), f"l{index}"))
            parts += [
                f'<circle class="s{index}" cx="{axes.x(row["load"]):.1f}" '
                f'cy="{axes.y(row["measured"][key]):.1f}" r="4"/>'
                for row in rows
            ]
        parts += [
            text(axes.x(row["load"]), 344, f"{row['load'] * 100:.0f} %", "quiet", "middle") for row in rows
        ]
        words.append(
            f"{kind[0]} with {kind[1]}: "
            + ", ".join(
                f"at {row['load'] * 100:.0f} % p99 {row['measured']['p99_ms']:.0f}"
                f" and {row['simulated']['p99_ms']:.0f} ms"
                for row in rows
            )
            + "."
        )
    return frame(364, "The simulation beside the service", " ".join(words), parts)


def step(studied: Figures) -> str:
    """Draw a fivefold load: replicas and p99 over time, by autoscaler."""
    rows = studied["whole_steps"]
    seconds = [one["at"] for one in rows[0]["series"]]
    across = (float(seconds[0]), float(seconds[-1]))
    most = max(one["replicas"] for row in rows for one in row["series"])
    upper = Axes(MARGIN + 62, 116, WIDTH - 2 * MARGIN - 70, 130, across, (0, most * 1.05))
    lower = Axes(MARGIN + 62, 290, WIDTH - 2 * MARGIN - 70, 150, across, (5, 60_000), is_log=True)
    low, high = rows[0]["series"][0]["rate"], rows[0]["series"][-1]["rate"]
    where = f"{find(rows[0]['case']).label.replace('`', '')} with {rows[0]['model']}"
    parts = [
        text(
            MARGIN,
            57,
            f"Simulated: {low:,} to {high:,} requests/s within 10 s, at the 60th second; {where}",
            "quiet",
        )
    ]
    parts += legend(MARGIN, 82, [row["autoscaler"] for row in rows])
    parts += [text(MARGIN, 108, "replicas", "panel"), text(MARGIN, 280, "p99, ms", "panel")]
    parts += upper.rules((0, most // 2, most)) + lower.rules((10, 100, 1000, 10_000))
    for index, row in enumerate(rows):
        parts.append(upper.line(((one["at"], one["replicas"]) for one in row["series"]), f"l{index}"))
        good = ((one["at"], one["p99_ms"]) for one in row["series"] if one["p99_ms"] is not None)
        parts.append(lower.line(good, f"l{index}"))
    parts += [text(lower.x(at), 462, f"{at} s", "quiet", "middle") for at in range(0, int(across[1]) + 1, 60)]
    words = " ".join(
        f"{row['autoscaler']}: {row['replicas']} replicas at the end, p99 {row['p99_ms']:.0f} ms."
        for row in rows
    )
    return frame(480, "A fivefold load within ten seconds", words, parts)
