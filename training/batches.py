"""Batches and augmentation as tensor code: one gather shifts and mirrors a whole batch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.errors import DataError
from training.processes import Processes
from training.recipes import Recipe
from training.sets import Pictures

GREY = 128  # what cutout leaves: near 0 once normalised
SHIFTS_OF = 32  # the side that shift and cutout are given for


@dataclass(frozen=True)
class Batch:
    """This process's part of a batch: uint8 B×C×S×S, int64 B, and its share.

    `share` times the mean loss of the part, averaged over processes, is the mean loss of the batch.
    """

    images: Tensor
    labels: Tensor
    share: float


class Batches:
    """One epoch after the other over a set of pictures.

    The order and the augmentation of an epoch depend on (seed, epoch) alone, drawn on the CPU and for
    the whole batch in every process, so that every device and every number of processes sees the
    same batches. `state` lets `epoch` go on inside one.
    """

    def __init__(
        self,
        pictures: Pictures,
        recipe: Recipe,
        seed: int,
        processes: Processes = Processes(),  # noqa: B008  (frozen)
        weights: Tensor | None = None,  # float32 classes
    ) -> None:
        self.pictures, self.recipe, self.seed = pictures, recipe, seed
        self.processes = processes
        labels = pictures.labels.cpu()
        self.weights = torch.ones(len(labels)) if weights is None else weights.cpu()[labels]
        self.generator = torch.Generator()
        self.mirrored_first = torch.rand(len(labels), generator=self.generator.manual_seed(seed)) < 0.5
        if len(pictures) // len(self) < processes.count:
            raise DataError(
                f"{len(pictures):,} pictures in {len(self):,} batches leave some of {processes.count} "
                "processes without any: start fewer, or raise --batch-size"
            )

    def __len__(self) -> int:
        return math.ceil(len(self.pictures) / self.recipe.batch_size)

    def state(self) -> Tensor:
        """Give the generator's state, to go on inside an epoch."""
        return self.generator.get_state()

    def epoch(self, epoch: int, start: int = 0, state: Tensor | None = None) -> Iterator[Batch]:
        """Yield the epoch's batches from `start` on; `state` as it was before that batch."""
        self.generator.manual_seed(self.seed * 100_003 + epoch)
        order = torch.randperm(len(self.pictures), generator=self.generator)
        if state is not None:
            self.generator.set_state(state)
        whole = order.tensor_split(len(self))[start:]  # of one size: a few left over would be noise
        mine = [self.processes.part(chosen) for chosen in whole]
        total = len(self) * self.recipe.epochs
        plain = epoch >= (1 - self.recipe.plain_end) * self.recipe.epochs
        for index, images in enumerate(self.pictures.batches(mine), start):
            chosen, own = whole[index - start], mine[index - start]
            augmented = self.augment(images, self.mirrored(epoch, chosen), plain)
            side = self.recipe.side((epoch * len(self) + index) / total, images.shape[-1])
            labels = self.pictures.labels[own.to(images.device)]
            yield Batch(shrink(augmented, side), labels, self.share(own, chosen))

    def share(self, own: Tensor, chosen: Tensor) -> float:
        """Weigh this process's part of a batch."""
        return self.processes.count * (self.weights[own].sum() / self.weights[chosen].sum()).item()

    def mirrored(self, epoch: int, chosen: Tensor) -> Tensor:
        """Say which of the chosen pictures are seen mirrored: half in one epoch, the others in the next.

        By turns rather than at random: so every picture is seen both ways in two epochs. Source: Jordan
        2024, "94% on CIFAR-10 in 3.29 seconds".
        """
        return self.mirrored_first[chosen] ^ bool(epoch % 2)

    def augment(self, images: Tensor, mirrored: Tensor, plain: bool = False) -> Tensor:
        """Mirror what is `mirrored`, shift and cut unless `plain`: uint8 B×C×S×S, of this process."""
        recipe, size, count = self.recipe, images.shape[-1], len(mirrored)
        reach = (0, 0) if plain else (recipe.shift, recipe.cutout)
        most, hole = (round(pixels * size / SHIFTS_OF) for pixels in reach)
        device, part = images.device, self.processes.part
        steps = torch.arange(size)
        if most or recipe.mirror:
            shifts = torch.randint(0, 2 * most + 1, (2, count, 1), generator=self.generator)
            rows, columns = steps + shifts[0], steps.expand(count, -1)
            if recipe.mirror:
                columns = torch.where(mirrored[:, None], columns.flip(1), columns)
            columns = columns + shifts[1]
            padded = F.pad(images, (most,) * 4, mode="reflect") if most else images
            images = padded[
                torch.arange(len(images), device=device)[:, None, None, None],
                torch.arange(images.shape[1], device=device)[None, :, None, None],
                part(rows).to(device)[:, None, :, None],
                part(columns).to(device)[:, None, None, :],
            ]
        if hole:
            corners = torch.randint(1 - hole, size, (2, count, 1), generator=self.generator)
            down, across = ((steps >= corner) & (steps < corner + hole) for corner in corners)
            holes = part(down[:, :, None] & across[:, None, :]).to(device)
            images = images.masked_fill(holes[:, None], GREY)
        return images


def shrink(images: Tensor, side: int) -> Tensor:
    """Resize with antialiasing: uint8 B×C×S×S -> uint8 B×C×side×side."""
    if side == images.shape[-1]:
        return images
    smaller = F.interpolate(
        images.float(), size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )
    return smaller.round().to(torch.uint8)
