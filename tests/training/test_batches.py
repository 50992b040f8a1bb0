"""Batches: every picture once an epoch, moved as the recipe says, and the same again after a resume."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.batches import Batches as Loader
from training.recipes import Recipe
from training.sets import PictureSet

SIZE, COUNT = 32, 203
Batch = tuple[Tensor, Tensor]


class Batches(Loader):
    """What every batch of one process is, without its share, which is 1."""

    def epoch(self, epoch: int, start: int = 0, state: Tensor | None = None) -> Iterator[Batch]:
        for batch in super().epoch(epoch, start, state):
            assert batch.share == 1
            yield batch.images, batch.labels


@pytest.fixture(scope="module")
def noise() -> PictureSet:
    """Give pictures of noise, no two alike under any shift; each picture's label is its number."""
    chance = torch.Generator().manual_seed(0)
    shape = (COUNT, 3, SIZE, SIZE)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=chance)
    return PictureSet(images, torch.arange(COUNT))


@pytest.fixture
def plain(recipe: Recipe) -> Recipe:
    return replace(recipe, mirror=False, shift=0)


def equal(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(one, other)
        for a, b in zip(some, others, strict=True)
        for one, other in zip(a, b, strict=True)
    )


def numbers(batches: list[Batch]) -> list[int]:
    return torch.cat([labels for _, labels in batches]).tolist()


def test_every_picture_comes_once_an_epoch_in_batches_of_the_recipes_size(
    noise: PictureSet, recipe: Recipe
) -> None:
    batches = Batches(noise, recipe, seed=0)
    epoch = list(batches.epoch(0))
    assert [len(labels) for _, labels in epoch] == [16] * 8 + [15] * 5, "of one size, as near as can be"
    assert len(batches) == 13
    assert sorted(numbers(epoch)) == list(range(COUNT))
    assert all(images.dtype == torch.uint8 for images, _ in epoch)


def test_the_order_depends_on_seed_and_epoch(noise: PictureSet, recipe: Recipe) -> None:
    orders = {
        (seed, epoch): tuple(numbers(list(Batches(noise, recipe, seed).epoch(epoch))))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4
    assert tuple(range(COUNT)) not in orders.values()


def test_order_and_augmentation_depend_on_nothing_else(noise: PictureSet, recipe: Recipe) -> None:
    fresh, used = Batches(noise, recipe, seed=3), Batches(noise, recipe, seed=3)
    torch.manual_seed(1)
    list(used.epoch(0))
    next(used.epoch(1))
    torch.manual_seed(2)
    assert equal(list(fresh.epoch(2)), list(used.epoch(2)))


def test_the_largest_seed_of_the_command_line_gives_batches(noise: PictureSet, recipe: Recipe) -> None:
    first, second = (Batches(noise, recipe, seed) for seed in (2**32 - 1, 2**32 - 2))
    assert numbers(list(first.epoch(0))) != numbers(list(second.epoch(0)))


def test_without_augmentation_pictures_come_unchanged(noise: PictureSet, plain: Recipe) -> None:
    for images, labels in Batches(noise, plain, seed=0).epoch(0):
        assert torch.equal(images, noise.images[labels])


def test_the_last_epochs_neither_shift_nor_cut(noise: PictureSet, plain: Recipe) -> None:
    batches = Batches(noise, replace(plain, epochs=10, shift=4, cutout=8, plain_end=0.2), seed=0)
    for epoch in range(10):
        unchanged = [torch.equal(images, noise.images[labels]) for images, labels in batches.epoch(epoch)]
        assert all(unchanged) if epoch >= 8 else not any(unchanged)


def test_mirroring_gives_a_picture_or_its_mirror_image(noise: PictureSet, plain: Recipe) -> None:
    batches = Batches(noise, replace(plain, mirror=True), seed=0)
    mirrored = 0
    for images, labels in batches.epoch(0):
        for image, number in zip(images, labels, strict=True):
            original = noise.images[number]
            is_mirrored = torch.equal(image, original.flip(2))
            assert is_mirrored or torch.equal(image, original)
            mirrored += is_mirrored
    assert mirrored / COUNT == pytest.approx(0.5, abs=0.1)


def test_what_one_epoch_mirrors_the_next_does_not(noise: PictureSet, plain: Recipe) -> None:
    batches = Batches(noise, replace(plain, mirror=True), seed=0)

    def mirrored(epoch: int) -> set[int]:
        return {
            label.item()
            for images, labels in batches.epoch(epoch)
            for image, label in zip(images, labels, strict=True)
            if torch.equal(image, noise.images[label].flip(2))
        }

    assert mirrored(0) | mirrored(1) == set(range(COUNT))
    assert not mirrored(0) & mirrored(1)
    assert mirrored(2) == mirrored(0)


@pytest.mark.parametrize("mirror", [False, True])
def test_shifting_gives_a_crop_of_the_picture_padded_by_reflection(
    noise: PictureSet, plain: Recipe, mirror: bool
) -> None:
    seen = set()
    for images, labels in Batches(noise, replace(plain, shift=2, mirror=mirror), seed=0).epoch(0):
        for image, number in zip(images, labels, strict=True):
            padded = F.pad(noise.images[number].float(), (2, 2, 2, 2), mode="reflect")
            crops = {
                (top, left, flipped): crop.flip(2) if flipped else crop
                for top in range(5)
                for left in range(5)
                for crop in [padded[:, top : top + SIZE, left : left + SIZE]]
                for flipped in (False, True)
            }
            (found,) = (where for where, crop in crops.items() if torch.equal(image.float(), crop))
            seen.add(found)
    assert {(top, left) for top, left, _ in seen} == {(top, left) for top in range(5) for left in range(5)}
    assert {flipped for _, _, flipped in seen} == ({False, True} if mirror else {False})


@pytest.mark.parametrize("done", [0, 1, 7, 12, 13])
@pytest.mark.parametrize("changes", [{}, {"mirror": False}, {"shift": 0}, {"mirror": False, "shift": 0}])
def test_an_epoch_goes_on_where_it_was_left(
    noise: PictureSet, recipe: Recipe, changes: dict[str, int], done: int
) -> None:
    recipe = replace(recipe, **changes)
    whole = list(Batches(noise, recipe, seed=0).epoch(4))
    left = Batches(noise, recipe, seed=0)
    running = left.epoch(4)
    for _ in range(done):
        next(running)
    rest = Batches(noise, recipe, seed=0).epoch(4, done, left.state() if done else None)
    assert equal(whole[done:], list(rest))


def test_cutout_greys_a_square_that_may_reach_over_the_edge(noise: PictureSet, plain: Recipe) -> None:
    areas = set()
    for images, labels in Batches(noise, replace(plain, cutout=8), seed=0).epoch(0):
        changed = (images != noise.images[labels]).any(1)
        assert (images.movedim(1, -1)[changed] == 128).all()
        for hole in changed:
            rows, columns = hole.any(1).sum().item(), hole.any(0).sum().item()
            assert 1 <= rows <= 8
            assert 1 <= columns <= 8
            areas.add((rows, columns))
    assert (8, 8) in areas
    assert len(areas) > 5


def test_shifts_and_holes_grow_with_the_pictures(plain: Recipe) -> None:
    large = PictureSet(torch.zeros(64, 3, 64, 64, dtype=torch.uint8), torch.arange(64))
    holes = [
        (images == 128)[:, 0].flatten(1).sum(1).max().item()
        for images, _ in Batches(large, replace(plain, cutout=8), seed=0).epoch(0)
    ]
    assert max(holes) == 16 * 16


def test_batches_come_smaller_where_the_recipe_says(noise: PictureSet, plain: Recipe) -> None:
    growing = replace(plain, first_size=0.5, epochs=4)
    sides = [images.shape[-1] for epoch in range(4) for images, _ in Batches(noise, growing, 0).epoch(epoch)]
    assert sides[0] == 16
    assert sides[-1] == SIZE
    assert sides == sorted(sides)
    images, labels = next(Batches(noise, growing, 0).epoch(0))
    assert images.dtype == torch.uint8
    whole = noise.images[labels].float()
    assert torch.allclose(images.float().mean((2, 3)), whole.mean((2, 3)), atol=8), "resized, not cropped"
