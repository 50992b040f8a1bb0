"""docs/scaling.md: its tables and charts, made of the stored figures and put where they have their names."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.capacity import drawing, findings, tables
from benchmarks.capacity.cases import Unknown
from benchmarks.serving.environments import REPOSITORY

Figures = Mapping[str, Any]
PAGE = REPOSITORY / "docs" / "scaling.md"


def blocks(measured: Figures, checked: Figures, studied: Figures) -> dict[str, str]:
    """Give every generated part of the page by its name."""
    parts = {
        "law": findings.law(measured, studied),
        "machine": tables.machine(measured),
        "core": tables.core(measured),
        "batches": tables.batches(measured),
        "replica": tables.replica(measured),
        "check": tables.check(checked),
        "errors": tables.errors(checked),
        "sizes": findings.sizes(studied),
        "balancers": findings.balancers(studied),
        "failures": findings.failures(studied),
        "steps": findings.steps(studied),
        "days": findings.days(studied),
        "cost": tables.cost(measured),
    }
    return {name: re.sub(r"(\d)%", r"\1 %", part) for name, part in parts.items()}


def charts(measured: Figures, checked: Figures, studied: Figures) -> dict[Path, str]:
    """Give every chart by its file."""
    folder = PAGE.parent
    return {
        folder / "scaling-core.svg": drawing.core(measured),
        folder / "scaling-check.svg": drawing.check(checked),
        folder / "scaling-step.svg": drawing.step(studied),
    }


def fill(text: str, parts: Mapping[str, str]) -> str:
    """Put each part between its two marks. Raises Unknown for a mark without a part, or the reverse."""
    marked = re.findall(r"<!-- begin (\S+) -->", text)
    if sorted(marked) != sorted(parts):
        raise Unknown(f"the page has places for {sorted(marked)}, and there are {sorted(parts)}")
    for name, part in parts.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{part}\n{end}{rest.partition(end)[2]}"
    return text


def write(measured: Figures, checked: Figures, studied: Figures) -> None:
    """Write the page and its charts anew."""
    PAGE.write_text(
        fill(PAGE.read_text(encoding="utf-8"), blocks(measured, checked, studied)), encoding="utf-8"
    )
    for path, chart in charts(measured, checked, studied).items():
        path.write_text(chart, encoding="utf-8")
