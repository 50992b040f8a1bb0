"""Show a training run as one HTML page that needs nothing else: no network, no script, no other file."""

import os
from html import escape
from pathlib import Path

from training.history import Row
from training.report.findings import calibration, classes, filters, mistakes
from training.report.overview import curves, headline, model_card
from training.report.page import PAGE, STYLE
from training.report.runs import FIT_FIRST, ReportError, Result, read_history, read_result


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run's folder, all or nothing, from its history and its result.

    A run without result, which is going on or was interrupted, shows its curves. Raises ReportError.
    """
    rows, result = read_history(run_dir / "history.jsonl"), read_result(run_dir / "result.pt")
    if not rows and not result:
        begun = (run_dir / "history.jsonl").is_file()
        missing = "no epoch is over yet" if begun else "neither history.jsonl nor result.pt is there"
        raise ReportError(f"{run_dir}: {missing}; {FIT_FIRST}")
    path = run_dir / "report.html"
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(compose(run_dir.resolve().name, rows, result).encode(errors="replace"))
    os.replace(beside, path)  # noqa: PTH105  (atomic)
    return path


def compose(run: str, rows: list[Row], result: Result | None) -> str:
    """Put the page together."""
    sections = [headline(run, rows, result), curves(rows)]
    if result:
        sections += [
            classes(result),
            f'<div class="pairs">{calibration(result)}\n{filters(result)}</div>',
            mistakes(result),
            *model_card(result.card),
        ]
    name = result.card.get("name", run) if result else run
    return PAGE.format(title=escape(f"{name}: a training run"), style=STYLE, body="\n".join(sections))
