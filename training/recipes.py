"""How a network is fitted: every number that changes the weights, in one frozen place."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with cross entropy; `docs/training.md` says what each part gave."""

    name: str
    epochs: int
    batch_size: int
    learning_rate: float  # the peak, where the schedule has one
    momentum: float
    schedule: Literal["constant", "triangular"] = "constant"
    nesterov: bool = False
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    mirror: bool = False  # flip half of the pictures left to right
    shift: int = 0  # move pictures by up to so many pixels, edges reflected
    report_every: int = 0  # print the mean loss every so many batches; 0: never

    def rate(self, progress: float) -> float:
        """Give the learning rate at `progress` (0..1 of all batches): pure, so that resuming is exact."""
        if self.schedule == "constant":
            return self.learning_rate
        rise = 0.2  # a fifth of the run up, the rest down to zero
        return self.learning_rate * min(progress / rise, (1 - progress) / (1 - rise))


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
    )
}
