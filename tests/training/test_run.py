"""One run: what is held out for the temperature, and from where the first pictures are taken."""

import torch

from training.data import Data
from training.run import hold_for_calibration, some_pictures
from training.sets import PictureSet


def numbered(labels: list[int]) -> Data:
    """Make pictures whose only pixel is their number."""
    images = torch.arange(len(labels)).to(torch.uint8)[:, None, None, None]
    pictures = PictureSet(images, torch.tensor(labels))
    return Data("numbered", ("a", "b", "c"), pictures, pictures, "test", "")


def test_the_temperature_is_fitted_on_pictures_that_are_not_trained_on() -> None:
    data = numbered([0, 1] * 125)
    kept, held = hold_for_calibration(data, 0.5, seed=3)
    assert held is not None
    assert len(held) == 125
    parts = [next(part.batches([torch.arange(125)])).flatten().tolist() for part in (kept.train, held)]
    assert sorted(parts[0] + parts[1]) == list(range(250))


def test_a_rare_class_keeps_all_its_pictures_to_train_on() -> None:
    data = numbered([0, 1] * 120 + [2])
    for seed in range(20):
        kept, held = hold_for_calibration(data, 0.5, seed)
        assert held is not None
        assert (kept.train.labels == 2).any()


def test_a_small_set_holds_nothing_out() -> None:
    data = numbered([0, 1] * 120)
    assert hold_for_calibration(data, 0.1, seed=0) == (data, None)


def test_enough_for_a_temperature_is_held_out_where_that_is_not_too_much() -> None:
    for count, wanted in ((2_400, None), (2_600, 100), (20_000, 400)):
        _, held = hold_for_calibration(numbered([0, 1] * (count // 2)), 0.02, seed=0)
        assert (held and len(held)) == wanted


def test_some_pictures_are_from_all_over_the_set() -> None:
    pictures = numbered([0] * 240).train
    assert some_pictures(pictures, 100).flatten().tolist() == list(range(0, 240, 3))
    assert len(some_pictures(pictures, 500)) == 240
