"""Measure a classifier on labelled pictures: accuracy, loss, calibration, confusion."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.data import PictureSet

BINS = 15  # of the calibration error, as in Guo et al. 2017
BATCH = 1000


@dataclass(frozen=True)
class Metrics:
    """What `model.json` says of a model. Accuracies and calibration error are in 0..1, the loss in nats."""

    accuracy: float
    loss: float
    expected_calibration_error: float
    per_class_accuracy: dict[str, float | None]  # None where the test part has no picture of a class
    confusion_matrix: list[list[int]]  # rows: the true class, columns: the predicted one
    pictures: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(forward: Callable[[Tensor], Tensor], pictures: PictureSet, labels: Sequence[str]) -> Metrics:
    """Measure `forward` (uint8 N×C×S×S -> float32 N×classes logits): one pass, no test-time augmentation."""
    logits = predict(forward, pictures)
    truth = pictures.labels.cpu()
    predicted = logits.argmax(1)
    classes = len(labels)
    confusion = torch.bincount(truth * classes + predicted, minlength=classes**2).view(classes, classes)
    counts, hits = confusion.sum(1).tolist(), confusion.diag().tolist()
    return Metrics(
        accuracy=(predicted == truth).double().mean().item(),
        loss=F.cross_entropy(logits.double(), truth).item(),
        expected_calibration_error=calibration_error(logits, truth),
        per_class_accuracy={
            label: hit / count if count else None
            for label, hit, count in zip(labels, hits, counts, strict=True)
        },
        confusion_matrix=confusion.tolist(),
        pictures=len(pictures),
    )


@torch.inference_mode()
def predict(forward: Callable[[Tensor], Tensor], pictures: PictureSet) -> Tensor:
    """Give the logits of every picture, float32 N×classes on the CPU."""
    return torch.cat([forward(batch).float().cpu() for batch in pictures.images.split(BATCH)])


def calibration_error(logits: Tensor, truth: Tensor) -> float:
    """Expected calibration error, 0..1: mean gap of confidence and accuracy over 15 equal bins.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    correct = (predicted == truth).double()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, confidence - correct)
    return (gaps.abs().sum() / len(truth)).item()
