"""Batches and augmentation as tensor code: one gather picks, shifts and mirrors a whole batch."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.data import PictureSet
from training.recipes import Recipe


class Batches:
    """One epoch after the other over a uint8 N×C×S×S set that stays on its device.

    The order and the augmentation of an epoch depend on (seed, epoch) alone, drawn on the CPU, so
    that every device sees the same batches. `state` lets `epoch` go on inside one.
    """

    def __init__(self, pictures: PictureSet, recipe: Recipe, seed: int) -> None:
        self.labels = pictures.labels
        self.size = pictures.images.shape[-1]
        self.recipe = recipe
        self.seed = seed
        self.generator = torch.Generator()
        # Padded once, so that a shift is only another place to read from.
        pad = (recipe.shift,) * 4
        self.padded = F.pad(pictures.images, pad, mode="reflect") if recipe.shift else pictures.images

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / self.recipe.batch_size)

    def state(self) -> Tensor:
        """Give the generator's state, to go on inside an epoch."""
        return self.generator.get_state()

    def epoch(
        self, epoch: int, start: int = 0, state: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (uint8 B×C×S×S, int64 B) from batch `start` on; `state` as it was before that batch."""
        self.generator.manual_seed(self.seed * 100_003 + epoch)
        order = torch.randperm(len(self.labels), generator=self.generator)
        if state is not None:
            self.generator.set_state(state)
        for chosen in order.split(self.recipe.batch_size)[start:]:
            where = chosen.to(self.labels.device)
            yield self.augment(where), self.labels[where]

    def augment(self, chosen: Tensor) -> Tensor:
        """Read the chosen pictures, each shifted and mirrored at random: int64 B -> uint8 B×C×S×S."""
        recipe, device = self.recipe, self.padded.device
        if not (recipe.shift or recipe.mirror):
            return self.padded[chosen]
        count, steps = len(chosen), torch.arange(self.size)
        shifts = torch.randint(0, 2 * recipe.shift + 1, (2, count, 1), generator=self.generator)
        rows = steps + shifts[0]
        columns = steps.expand(count, -1)
        if recipe.mirror:
            mirrored = torch.rand(count, 1, generator=self.generator) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        columns = columns + shifts[1]
        rows, columns = rows.to(device), columns.to(device)
        channels = torch.arange(self.padded.shape[1], device=device)
        return self.padded[
            chosen[:, None, None, None],
            channels[None, :, None, None],
            rows[:, None, :, None],
            columns[:, None, None, :],
        ]
