"""What a run's folder holds: the history of its epochs, and the result of a finished run."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.errors import TrainingError
from training.evaluate import Metrics, measure
from training.history import Row

FIT_FIRST = "run `python -m training fit` first, or name its folder: runs/NAME"


class ReportError(TrainingError):
    """A run cannot be shown: its files are missing or damaged."""


@dataclass(frozen=True)
class Result:
    """What a finished run came to, as `result.pt` has it."""

    card: dict[str, Any]  # model.json
    logits: Tensor  # float32 N×classes
    truth: Tensor  # int64 N
    images: Tensor  # uint8 M×C×S×S, 0..255: the most confident mistakes
    mistakes: list[tuple[int, int, float]]  # M of: true class, predicted class, confidence in 0..1
    filters: Tensor | None  # float32 K×C×F×F: the first layer's
    metrics: Metrics
    labels: list[str]

    @property
    def confusion(self) -> Tensor:
        """int64 classes×classes, rows: the true class."""
        return torch.tensor(self.metrics.confusion_matrix)


def read_history(path: Path) -> list[Row]:
    """Read the rows of the finished epochs; none where there is no file. Raises ReportError.

    A last line that a crash has cut is left out.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append(row | {"epoch": int(row["epoch"])})
        except (ValueError, KeyError, TypeError, OverflowError):
            if number < len(lines):
                raise ReportError(
                    f"{path} is damaged in line {number}, which is not an epoch's; {FIT_FIRST}"
                ) from None
    return rows


def read_result(path: Path) -> Result | None:
    """Read what a finished run came to; None where there is no file. Raises ReportError."""
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        card, logits, truth = json.loads(content["card"]), content["logits"].float(), content["truth"]
        labels, mistakes = [str(label) for label in card["labels"]], content["mistakes"]
        keys = ("truth", "predicted", "confidence")
        listed = list(zip(*(mistakes[key].tolist() for key in keys), strict=True))
        images = mistakes["images"]
        named = all(0 <= each < len(labels) for pair in listed for each in pair[:2])
        if len(images) != len(listed) or images.dtype != torch.uint8 or not named:
            raise ValueError("mistakes")
        if logits.shape != (len(truth), len(labels)) or not 0 <= int(truth.min()) <= int(truth.max()):
            raise ValueError("logits")
        numbered = [f"{index} {label}" for index, label in enumerate(labels)]  # a label may occur twice
        metrics = measure(logits, truth, numbered)
        return Result(card, logits, truth, images, listed, content["filters"], metrics, labels)
    except Exception as error:  # what unpickling raises has no common base
        raise ReportError(
            f"{path} is damaged, or not one of this version ({type(error).__name__}); {FIT_FIRST}"
        ) from error
