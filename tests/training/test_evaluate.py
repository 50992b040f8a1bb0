"""The figures, by hand on a few logits."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training.evaluate import calibration_error, evaluate, fit_temperature, measure, predict
from training.processes import Processes
from training.sets import PictureSet

LABELS = ("a", "b", "c")


def pictures(truth: list[int]) -> PictureSet:
    """Give pictures that hold nothing but their own number."""
    numbers = torch.arange(len(truth), dtype=torch.uint8).view(-1, 1, 1, 1)
    return PictureSet(numbers, torch.tensor(truth))


def look_up(logits: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda images: logits[images.flatten().long()]


def confident(confidence: float, classes: int = 2) -> list[float]:
    """Give logits whose softmax is `confidence` for class 0 and the rest shared equally."""
    return [math.log(confidence)] + [math.log((1 - confidence) / (classes - 1))] * (classes - 1)


TRUTH = [0, 0, 0, 1, 1, 2]
PREDICTED = [0, 0, 1, 1, 2, 0]


@pytest.fixture
def logits() -> Tensor:
    """Give logits of 0 and ln 2: the predicted class has probability 1/2, the others 1/4."""
    logits = torch.zeros(6, 3)
    logits[range(6), PREDICTED] = math.log(2)
    return logits


def test_accuracy_is_the_share_of_right_answers(logits: Tensor) -> None:
    metrics = evaluate(look_up(logits), pictures(TRUTH), LABELS)
    assert metrics.accuracy == 3 / 6
    assert metrics.pictures == 6


def test_accuracy_of_a_class_is_among_its_own_pictures(logits: Tensor) -> None:
    metrics = evaluate(look_up(logits), pictures(TRUTH), LABELS)
    assert metrics.per_class_accuracy == {"a": 2 / 3, "b": 1 / 2, "c": 0}


def test_rows_of_the_confusion_matrix_are_the_true_classes(logits: Tensor) -> None:
    metrics = evaluate(look_up(logits), pictures(TRUTH), LABELS)
    assert metrics.confusion_matrix == [[2, 1, 0], [0, 1, 1], [1, 0, 0]]


def test_the_loss_is_the_mean_of_minus_log_probability(logits: Tensor) -> None:
    metrics = evaluate(look_up(logits), pictures(TRUTH), LABELS)
    assert metrics.loss == pytest.approx((3 * math.log(2) + 3 * math.log(4)) / 6)


def test_a_class_without_test_pictures_has_no_accuracy() -> None:
    metrics = evaluate(look_up(torch.eye(3)), pictures([0, 0]), LABELS)
    assert metrics.per_class_accuracy == {"a": 0.5, "b": None, "c": None}
    assert metrics.confusion_matrix == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_pictures_are_measured_in_order_over_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluate.BATCH", 4)
    sizes = []

    def forward(images: Tensor) -> Tensor:
        sizes.append(len(images))
        return torch.eye(3)[images.flatten().long() % 3]

    metrics = evaluate(forward, pictures([0, 1, 2] * 3), LABELS)
    assert sizes == [4, 4, 1]
    assert metrics.accuracy == 1


def test_measuring_keeps_no_gradients() -> None:
    layer = torch.nn.Linear(1, 3)

    def forward(images: Tensor) -> Tensor:
        logits = layer(images.flatten(1).float())
        assert not logits.requires_grad
        return logits

    evaluate(forward, pictures([0, 1]), LABELS)


def test_who_is_right_as_often_as_they_say_is_calibrated() -> None:
    logits = torch.tensor([confident(0.75)] * 4)
    assert calibration_error(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(0, abs=1e-6)


def test_who_is_sure_and_wrong_half_the_time_is_off_by_half() -> None:
    logits = torch.tensor([[1000.0, 0.0]] * 4)
    assert logits.double().softmax(1).max() == 1, "a confidence of exactly 1 has a bin"
    assert calibration_error(logits, torch.tensor([0, 0, 1, 1])) == pytest.approx(0.5)


def test_who_doubts_and_is_right_is_off_by_the_doubt() -> None:
    logits = torch.tensor([confident(0.6)] * 5)
    assert calibration_error(logits, torch.zeros(5, dtype=torch.int64)) == pytest.approx(0.4)


def test_gaps_count_by_the_pictures_in_their_bin_and_do_not_cancel_across_bins() -> None:
    sure, unsure = confident(0.9), confident(0.55)
    logits = torch.tensor([sure, sure, sure, unsure])
    truth = torch.tensor([0, 0, 1, 0])  # sure: 2 of 3 right, over by 0.7/3; unsure: right, under by 0.45
    expected = 3 / 4 * (0.9 - 2 / 3) + 1 / 4 * (1 - 0.55)
    assert calibration_error(logits, truth) == pytest.approx(expected)


def test_gaps_within_a_bin_do_cancel() -> None:
    """0.68 and 0.72 share the 11th of 15 bins, (0.667, 0.733]; of 10 bins they would not share one."""
    logits = torch.tensor([confident(0.68), confident(0.72)])
    assert calibration_error(logits, torch.tensor([0, 1])) == pytest.approx(0.7 - 0.5)


def test_a_network_that_diverged_is_measured_as_no_number() -> None:
    metrics = evaluate(look_up(torch.full((2, 3), float("nan"))), pictures([0, 1]), LABELS)
    assert math.isnan(metrics.loss)
    assert math.isnan(metrics.expected_calibration_error)


def test_a_single_class_has_confidence_one() -> None:
    assert calibration_error(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64)) == 0


def sure(scale: float, count: int = 20_000) -> tuple[Tensor, Tensor]:
    """Draw truths from a softmax of logits, and give the logits `scale` times as large as they were."""
    chance = torch.Generator().manual_seed(0)
    logits = torch.randn(count, 5, generator=chance) * 2
    truth = torch.multinomial(logits.softmax(1), 1, generator=chance).flatten()
    return logits * scale, truth


@pytest.mark.parametrize("scale", [0.3, 0.5, 1.0, 3.0])
def test_the_temperature_undoes_too_much_or_too_little_confidence(scale: float) -> None:
    logits, truth = sure(scale)
    temperature = fit_temperature(logits, truth)
    assert temperature == pytest.approx(scale, rel=0.05)
    assert calibration_error(logits / temperature, truth) < 0.015
    if scale != 1:
        assert calibration_error(logits, truth) > 0.1
    assert measure(logits / temperature, truth, "abcde").accuracy == measure(logits, truth, "abcde").accuracy


def test_the_temperature_of_a_few_pictures_stays_within_reason() -> None:
    truth = torch.arange(100) % 5
    right = torch.eye(5)[truth]
    assert fit_temperature(right, truth) == 0.25
    assert fit_temperature(10 * right, (truth + 1) % 5) == 4


def test_processes_share_out_what_they_predict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each computes its parts and leaves the others' at zero, so that the sum is all of them."""
    monkeypatch.setattr("training.evaluate.BATCH", 4)
    monkeypatch.setattr(Processes, "sum", lambda _, values: values)
    everything = pictures([0, 1, 2] * 5)

    def forward(images: Tensor) -> Tensor:
        return torch.eye(3)[images.flatten().long() % 3] + 1

    whole = predict(forward, everything, 3)
    parts = [predict(forward, everything, 3, Processes(rank, 3)) for rank in range(3)]
    assert torch.equal(sum(parts), whole)
    assert all((part == 0).all(1).any() for part in parts)
