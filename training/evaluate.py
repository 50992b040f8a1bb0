"""Measure a classifier on labelled pictures: accuracy, loss, calibration, confusion; fit its temperature."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.processes import Processes
from training.sets import Pictures

TEMPERATURES = (0.25, 4.0)
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


Forward = Callable[[Tensor], Tensor]  # uint8 N×C×S×S -> float32 N×classes, logits


def evaluate(forward: Forward, pictures: Pictures, labels: Sequence[str]) -> Metrics:
    """Measure `forward`: one pass a picture, no test-time augmentation."""
    return measure(predict(forward, pictures, len(labels)), pictures.labels.cpu(), labels)


def measure(logits: Tensor, truth: Tensor, labels: Sequence[str]) -> Metrics:
    """Compare float32 N×classes logits with int64 N class indices."""
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
        pictures=len(truth),
    )


def predict(
    forward: Forward,
    pictures: Pictures,
    classes: int,
    processes: Processes = Processes(),  # noqa: B008  (frozen)
) -> Tensor:
    """Give the logits of every picture, float32 N×classes on the CPU; each process computes its part."""
    parts = torch.arange(len(pictures)).split(BATCH)[processes.rank :: processes.count]
    logits = torch.zeros(len(pictures), classes)
    with torch.inference_mode():
        for where, images in zip(parts, pictures.batches(parts), strict=True):
            logits[where] = forward(images).float().cpu()
    return processes.sum(logits)


def fit_temperature(logits: Tensor, truth: Tensor) -> float:
    """Find the number that logits are to be divided by for the least loss: float32 N×classes, int64 N.

    One number cannot change which class is the largest, only how sure the network is. Within TEMPERATURES:
    few pictures, all of them right or none, would ask for 0 or infinity. Source: Guo et al. 2017, "On
    Calibration of Modern Neural Networks".
    """
    logits = logits.double()
    sharpness = torch.zeros(1, dtype=torch.float64, requires_grad=True)  # −log of the temperature
    search = torch.optim.LBFGS([sharpness], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(logits * sharpness.exp(), truth)
        value.backward()
        return value

    search.step(loss)
    least, most = TEMPERATURES
    return min(max(math.exp(-sharpness.item()), least), most)


def calibration_error(logits: Tensor, truth: Tensor) -> float:
    """Expected calibration error, 0..1: mean gap of confidence and accuracy over 15 equal bins.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    correct = (predicted == truth).double()
    bins = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, confidence - correct)
    return (gaps.abs().sum() / len(truth)).item()
