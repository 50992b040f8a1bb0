"""The figures of the last run of each trial, with the machine they were taken on: results.json."""

import json
from pathlib import Path
from typing import Any

from benchmarks.serving import machine

FILE = Path(__file__).with_name("results.json")


def read() -> dict[str, Any]:
    """Give all results, by trial."""
    found: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def write(trial: str, found: dict[str, Any]) -> None:
    """Put one trial's results in the place of its last ones."""
    everything = read() | {trial: found | {"machine": machine.describe()}}
    FILE.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
