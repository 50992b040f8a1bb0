"""Numbers as one reads them, and a dash where there is none."""

import math
from typing import Any


def part(card: dict[str, Any], key: str) -> dict[str, Any]:
    """Take a part of a card; an empty one where older runs have none."""
    found = card.get(key)
    return found if isinstance(found, dict) else {}


def number(value: object, form: str = "") -> str:
    """Write a number; a dash where there is none."""
    return "–" if finite(value) is None else format(value, form)


def percent(value: object) -> str:
    return number(value, ".2%")


def short(value: object) -> str:
    """Write a large number in three digits: 1.85 M."""
    size = finite(value)
    if size is None:
        return "–"
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if size >= unit:
            return f"{size / unit:.3g}{name}"
    return f"{size:g}"


def duration(value: object) -> str:
    """Write seconds as a clock would: 75 -> 1 min 15 s."""
    seconds = finite(value)
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def interval(accuracy: float, pictures: int) -> tuple[float, float]:
    """Give the accuracies, 0..1, that so many test pictures cannot tell apart from this one.

    Wilson's 95 % interval: what another draw of test pictures would change, not another seed.
    """
    z = 1.96
    middle = (accuracy + z**2 / (2 * pictures)) / (1 + z**2 / pictures)
    half = z * math.sqrt(accuracy * (1 - accuracy) / pictures + z**2 / (4 * pictures**2))
    half /= 1 + z**2 / pictures
    return max(0.0, middle - half), min(1.0, middle + half)


def finite(value: object) -> float | None:
    """Take a number that can be drawn: not null, not a word, not infinite."""
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if is_number else None  # type: ignore[arg-type]
