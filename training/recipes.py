"""How a network is fitted: every number that changes the weights, in one frozen place."""

import math
from dataclasses import dataclass, replace
from typing import Literal

GROWN = 0.7  # of the run, after which pictures have their full size
BATCHES_AN_EPOCH = 40  # at least, of a small set


@dataclass(frozen=True)
class Recipe:
    """Cross entropy and an optimiser; `docs/training.md` says what each part gave."""

    name: str
    epochs: int
    batch_size: int
    learning_rate: float  # the peak, where the schedule has one; Muon's: of the filters
    momentum: float
    optimiser: Literal["sgd", "muon"] = "sgd"
    schedule: Literal["constant", "triangular"] = "constant"
    warm_up: float = 0.2  # of the run, where a triangular rate rises
    nesterov: bool = False
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    mirror: bool = False  # flip half of the pictures left to right, the others in the next epoch
    shift: int = 0  # move pictures by up to so many pixels of 32, edges reflected
    cutout: int = 0  # grey out a square of so many pixels of 32, 0: none
    plain_end: float = 0.0  # part of the run, at its end, in which pictures are neither shifted nor cut
    first_size: float = 1.0  # of the pictures' side, at the start; they grow to full size
    class_weights: Literal["none", "balanced"] = "none"
    calibration: float = 0.0  # part of the training pictures held out to fit the temperature
    least_batch: int = 0  # a small set gets batches of so many pictures at least; 0: of the usual size
    least_batches: int = 0  # and more epochs, so that there are so many
    report_every: int = 0  # print the mean loss every so many batches; 0: never

    def factor(self, progress: float) -> float:
        """Give the rate, of its peak, at `progress` (0..1): pure, so that resuming is exact."""
        if self.schedule == "constant":
            return 1.0
        return min(progress / self.warm_up, (1 - progress) / (1 - self.warm_up))

    def side(self, progress: float, size: int) -> int:
        """Give the side of the pictures, in pixels, at `progress`: in eighths of `size`."""
        part = self.first_size + (1 - self.first_size) * progress / GROWN
        return min(size, int(part * 8) * size // 8)

    def fitted_to(self, pictures: int) -> "Recipe":
        """Give a small set at least `least_batches`: smaller batches first, then more epochs."""
        if not self.least_batch:
            return self
        batch = min(self.batch_size, max(self.least_batch, pictures // BATCHES_AN_EPOCH))
        epochs = math.ceil(self.least_batches / math.ceil(pictures / batch))
        return replace(self, batch_size=batch, epochs=max(self.epochs, epochs))


RECIPES = {
    recipe.name: recipe
    for recipe in (
        # The article's, to the letter (PyTorch's "Training a Classifier" tutorial).
        Recipe(
            name="tutorial",
            epochs=2,
            batch_size=4,
            learning_rate=0.001,
            momentum=0.9,
            report_every=2000,
        ),
        Recipe(
            name="standard",
            epochs=160,
            batch_size=256,
            learning_rate=0.1,
            momentum=0.9,
            schedule="triangular",
            nesterov=True,
            weight_decay=5e-4,
            label_smoothing=0.1,
            mirror=True,
            shift=2,
        ),
        # For networks with batch normalisation that take pictures of any size.
        Recipe(
            name="modern",
            epochs=25,
            batch_size=500,
            learning_rate=0.13,
            momentum=0.6,
            optimiser="muon",
            schedule="triangular",
            warm_up=0.1,
            mirror=True,
            shift=4,
            cutout=8,
            plain_end=0.1,
            first_size=0.625,
            calibration=0.02,
            least_batch=16,
            least_batches=1000,
        ),
    )
}
DEFAULT_RECIPE = {"lenet": "standard", "resnet": "modern"}
