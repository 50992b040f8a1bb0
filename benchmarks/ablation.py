"""What each part of a recipe gives: one part changed at a time, measured on held-out training pictures.

python -m benchmarks.ablation --data FOLDER                          the article's network, recipe `standard`
python -m benchmarks.ablation --data FOLDER --network resnet         a small model of recipe `modern`

The small model has half the width, 45 % of the pictures, and those 20 pixels a side, for nearly as many
epochs: a row takes minutes and still ends, as the whole does, with more known by heart than recognised.
"""

import argparse
import io
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partialmethod
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F  # noqa: N812
from rich.console import Console
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training import data as datasets
from training import recipes, residual
from training.batches import Batches, shrink
from training.checkpoint import Checkpoint
from training.data import Data
from training.devices import Machine
from training.evaluate import evaluate, fit_temperature, measure, predict
from training.history import History
from training.networks import Classifier, build
from training.progress import Progress
from training.recipes import RECIPES, Recipe
from training.sets import Pictures, PictureSet
from training.train import fit

EPOCHS = {"lenet": 30, "resnet": 22}
SMALL = 20  # pixels


@dataclass(frozen=True)
class Cosine(Recipe):
    """A recipe whose rate falls as half a cosine."""

    def factor(self, progress: float) -> float:
        return min(progress / self.warm_up, (1 + math.cos(math.pi * progress)) / 2)


def lenet_rows(epochs: int) -> dict[str, Recipe]:
    """Give the rows of the article's network: its recipe without label smoothing, and one part changed."""
    base = replace(RECIPES["standard"], epochs=epochs, label_smoothing=0.0)
    return {
        "base": base,
        "no mirror": replace(base, mirror=False),
        "no shift": replace(base, shift=0),
        "shift 4": replace(base, shift=4),
        "no mirror, no shift": replace(base, mirror=False, shift=0),
        "label smoothing 0.1": replace(base, label_smoothing=0.1),
        "weight decay 0": replace(base, weight_decay=0.0),
        "weight decay 2e-3": replace(base, weight_decay=2e-3),
        "constant rate 0.01": replace(base, schedule="constant", learning_rate=0.01),
        "peak rate 0.05": replace(base, learning_rate=0.05),
        "peak rate 0.2": replace(base, learning_rate=0.2),
        "batch 64, peak rate 0.05": replace(base, batch_size=64, learning_rate=0.05),
        "batch 1024, peak rate 0.2": replace(base, batch_size=1024, learning_rate=0.2),
        "plain momentum": replace(base, nesterov=False),
    }


def resnet_rows(epochs: int) -> dict[str, Recipe]:
    """Give the rows of the residual network; those named in PATCHES change more than the recipe."""
    base = replace(RECIPES["modern"], epochs=epochs, calibration=0.0)
    nesterov = {"optimiser": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    return {
        "base": base,
        "label smoothing 0.1": replace(base, label_smoothing=0.1),
        "mirror at random": base,
        "colour jitter": base,
        "zoom": base,
        "zoom and rotation": base,
        "no cutout": replace(base, cutout=0),
        "shift and cutout to the end": replace(base, plain_end=0.0),
        "peak rate 0.15": replace(base, learning_rate=0.15),
        "cutout 12": replace(base, cutout=12),
        "no mirror": replace(base, mirror=False),
        "shift 2": replace(base, shift=2),
        # Rows with other epochs take about as long as the base does.
        "full size at once, fewer epochs": replace(base, first_size=1.0, epochs=round(epochs * 0.74)),
        "growing longer, more epochs": replace(base, epochs=round(epochs * 1.18)),
        "first layer trained, not whitened": base,
        "no identity start": base,
        "ReLU": base,
        "Nesterov SGD, peak rate 0.2": replace(base, **nesterov, learning_rate=0.2),
        "peak rate 0.05": replace(base, learning_rate=0.05),
        "peak rate 0.2": replace(base, learning_rate=0.2),
        "cosine schedule": Cosine(**vars(base)),
        "constant rate 0.02": replace(base, schedule="constant", learning_rate=0.02),
        "weight averaging": base,
        "batch 250": replace(base, batch_size=250),
        "batch 250, peak rate 0.2": replace(base, batch_size=250, learning_rate=0.2),
        "batch 1000": replace(base, batch_size=1000),
        "the last two stages as wide": base,
        "half the width, more epochs": replace(base, epochs=round(epochs * 2.7)),
        "twice the width, fewer epochs": replace(base, epochs=round(epochs * 0.3)),
    }


def no_whitening(network: nn.Module, _: Tensor) -> None:
    network.stem.weight.requires_grad_(True)


def at_random(batches: Batches, _: int, chosen: Tensor) -> Tensor:
    return torch.rand(len(chosen), generator=batches.generator) < 0.5


def jitter(batches: Batches, images: Tensor, mirrored: Tensor, plain: bool) -> Tensor:
    """Change contrast, brightness and saturation at random, besides."""
    contrast, brightness, saturation = (
        torch.rand(3, len(mirrored), 1, 1, 1, generator=batches.generator) - 0.5
    )
    values = augment_of(batches, images, mirrored, plain).float()
    grey = values.mean(1, keepdim=True)
    values = grey + (values - grey) * (1 + 0.8 * saturation)
    mean = values.mean((1, 2, 3), keepdim=True)
    values = (values - mean) * (1 + 0.6 * contrast) + mean + 40 * brightness
    return values.clamp(0, 255).round().to(torch.uint8)


def turn(batches: Batches, images: Tensor, mirrored: Tensor, plain: bool, degrees: float = 0) -> Tensor:
    """Zoom by up to a sixth and rotate by up to so many degrees, besides."""
    zoom, angle = torch.rand(2, len(mirrored), generator=batches.generator) * 2 - 1
    zoom, angle = (1 / 6 * zoom).exp(), math.radians(degrees) * angle
    straight = torch.zeros_like(zoom)
    rows = (
        (zoom * angle.cos(), -zoom * angle.sin(), straight),
        (zoom * angle.sin(), zoom * angle.cos(), straight),
    )
    places = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(places, list(images.shape), align_corners=False)
    turned = F.grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
    return augment_of(batches, turned.round().to(torch.uint8), mirrored, plain)


augment_of = Batches.augment

PATCHES: dict[str, Callable[[], object]] = {
    "growing longer, more epochs": lambda: mock.patch.object(recipes, "GROWN", 0.9),
    "first layer trained, not whitened": lambda: mock.patch.object(residual.ResNet, "whiten", no_whitening),
    "no identity start": lambda: mock.patch.object(nn.init, "dirac_"),
    "mirror at random": lambda: mock.patch.object(Batches, "mirrored", at_random),
    "colour jitter": lambda: mock.patch.object(Batches, "augment", jitter),
    "zoom": lambda: mock.patch.object(Batches, "augment", turn),
    "zoom and rotation": lambda: mock.patch.object(Batches, "augment", partialmethod(turn, degrees=12)),
    "half the width, more epochs": lambda: mock.patch.object(residual, "WIDTHS", (16, 48, 96)),
    "twice the width, fewer epochs": lambda: mock.patch.object(residual, "WIDTHS", (64, 192, 384)),
    "the last two stages as wide": lambda: mock.patch.object(residual, "WIDTHS", (32, 128, 128)),
    "ReLU": lambda: mock.patch.object(nn, "GELU", nn.ReLU),
}


def made_small(pictures: Pictures) -> PictureSet:
    """Shrink every picture."""
    order = torch.arange(len(pictures)).split(1000)
    return PictureSet(torch.cat([shrink(each, SMALL) for each in pictures.batches(order)]), pictures.labels)


def hold_out(data: Data, part: float) -> Data:
    """Train on `part` of the training pictures, the same every time; measure on the others."""
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(2026))
    held, kept = order.tensor_split([round((1 - part) * len(order))])
    return replace(data, train=data.train.part(kept), test=data.train.part(held), split="held-out")


@contextmanager
def averaging(classifier: Classifier) -> Iterator[AveragedModel]:
    """Follow the weights with an exponential moving average of about 100 steps."""
    average = AveragedModel(classifier, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    hook = register_optimizer_step_post_hook(
        lambda optimiser, *_: (
            average.update_parameters(classifier) if isinstance(optimiser, torch.optim.SGD) else None
        )
    )
    try:
        yield average
    finally:
        hook.remove()


def calibrated(logits: Tensor, truth: Tensor) -> Tensor:
    """Divide either half of the logits by the temperature of the other."""
    temperatures = [fit_temperature(logits[part::2], truth[part::2]) for part in (0, 1)]
    for part in (0, 1):
        logits[part::2] /= temperatures[1 - part]
    return logits


def run(name: str, network: str, recipe: Recipe, data: Data, seed: int) -> list[float]:
    """Fit once: held-out accuracy, loss, calibration error, training accuracy, seconds."""
    torch.manual_seed(seed)
    data = replace(data, train=data.train.part(torch.arange(len(data.train))))  # a copy
    quiet = Progress(Console(file=io.StringIO()), len(data.train), recipe.epochs)
    with (
        PATCHES.get(name, nullcontext)(),
        quiet,
        tempfile.TemporaryDirectory() as folder,
        History(Path(folder)) as history,
        ExitStack() as stack,
    ):
        classifier = build(network, len(data.labels), size=data.train.images.shape[-1])
        classifier.initialise(data.train.images[:5000])
        average = stack.enter_context(averaging(classifier)) if name == "weight averaging" else None
        checkpoint = Checkpoint(Path(folder) / "checkpoint.pt", "ablation")
        some = replace(data, test=data.test.part(torch.arange(1000)))  # for the history, which nobody reads
        seconds = fit(classifier, recipe, some, seed, Machine(), checkpoint, history, quiet)
    final = (average.module if average else classifier).eval()
    logits = predict(final, data.test, len(data.labels))
    held = measure(calibrated(logits, data.test.labels), data.test.labels, data.labels)
    seen = evaluate(final, data.train, data.labels)
    return [held.accuracy, held.loss, held.expected_calibration_error, seen.accuracy, seconds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--network", choices=["lenet", "resnet"], default="lenet")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="rows to run (default: all)")
    options = parser.parse_args()
    epochs = options.epochs or EPOCHS[options.network]
    rows = (lenet_rows if options.network == "lenet" else resnet_rows)(epochs)
    if unknown := {*(options.only or ())} - rows.keys():
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(rows)}")
    assert options.network == "lenet" or rows.keys() >= PATCHES.keys()
    data = datasets.load(options.data, options.data_dir, build("lenet", 2).prepare, 0, memory=10**10)
    if options.network == "resnet":
        residual.WIDTHS = tuple(width // 2 for width in residual.WIDTHS)
        data = replace(data, train=made_small(data.train))
    data = hold_out(data, 0.45 if options.network == "resnet" else 0.9)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {epochs} epochs")
    print("| recipe | held-out accuracy | loss | calibration error | training accuracy | seconds |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    for name, recipe in rows.items():
        if options.only and name not in options.only:
            continue
        found = [run(name, options.network, recipe, data, seed) for seed in seeds]
        held, loss, gap, seen, seconds = (statistics.mean(column) for column in zip(*found, strict=True))
        spread = f" ± {statistics.stdev(row[0] for row in found):.2%}" if len(found) > 1 else ""
        print(
            f"| {name} | {held:.2%}{spread} | {loss:.3f} | {gap:.2%} | {seen:.2%} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
