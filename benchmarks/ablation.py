"""What each part of a recipe gives: one part changed at a time, measured on held-out training pictures.

python -m benchmarks.ablation --data FOLDER                          the article's network, recipe `standard`
python -m benchmarks.ablation --data FOLDER --network resnet         half as wide, recipe `modern`
"""

import argparse
import io
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import torch
from rich.console import Console
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training import data as datasets
from training import residual
from training.checkpoint import Checkpoint
from training.data import Data
from training.devices import Machine
from training.evaluate import evaluate
from training.history import History
from training.networks import Classifier, build
from training.progress import Progress
from training.recipes import RECIPES, Recipe
from training.train import fit

EPOCHS = {"lenet": 30, "resnet": 6}


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
    """Give the rows of the residual network; `run` knows what those named in PATCHES change besides."""
    base = replace(RECIPES["modern"], epochs=epochs, calibration=0.0)
    nesterov = {"optimiser": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    return {
        "base": base,
        "Nesterov SGD, peak rate 0.2": replace(base, **nesterov, learning_rate=0.2),
        # As long as the base takes: small pictures cost less.
        f"full size at once, {round(epochs * 0.685)} epochs": replace(
            base, first_size=1.0, epochs=round(epochs * 0.685)
        ),
        "first layer trained, not whitened": base,
        "no identity start": base,
        "weight averaging": base,
        "no cutout": replace(base, cutout=0),
        "no cutout, shift 2": replace(base, cutout=0, shift=2),
        "no mirror": replace(base, mirror=False),
        "no label smoothing": replace(base, label_smoothing=0.0),
        "cosine schedule": Cosine(**vars(base)),
        "constant rate 0.02": replace(base, schedule="constant", learning_rate=0.02),
        "ReLU": base,
        "peak rate 0.05": replace(base, learning_rate=0.05),
        "peak rate 0.2": replace(base, learning_rate=0.2),
        "batch 250": replace(base, batch_size=250),
        "batch 1000": replace(base, batch_size=1000),
    }


def no_whitening(network: nn.Module, _: torch.Tensor) -> None:
    network.stem.weight.requires_grad_(True)


PATCHES: dict[str, Callable[[], object]] = {
    "first layer trained, not whitened": lambda: mock.patch.object(residual.ResNet, "whiten", no_whitening),
    "no identity start": lambda: mock.patch.object(nn.init, "dirac_"),
    "ReLU": lambda: mock.patch.object(nn, "GELU", nn.ReLU),
}


def hold_out(data: Data) -> Data:
    """Keep a tenth of the training pictures, the same every time, to measure on instead of the test part."""
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(2026))
    held, kept = order.split([len(order) // 10, len(order) - len(order) // 10])
    return replace(data, train=data.train.part(kept), test=data.train.part(held), split="held-out")


@contextmanager
def averaging(classifier: Classifier, wanted: bool) -> Iterator[AveragedModel | None]:
    """Follow the weights with an exponential moving average of about an epoch."""
    if not wanted:
        yield None
        return
    average = AveragedModel(classifier, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    hook = register_optimizer_step_post_hook(
        lambda optimiser, *_: (
            average.update_parameters(classifier) if isinstance(optimiser, torch.optim.SGD) else None
        )
    )
    yield average
    hook.remove()


def run(name: str, network: str, recipe: Recipe, data: Data, seed: int) -> tuple[float, float, float, float]:
    """Fit once: held-out accuracy and loss, training accuracy, seconds."""
    torch.manual_seed(seed)
    with PATCHES.get(name, lambda: mock.patch.object(torch, "__doc__"))():
        classifier = build(network, len(data.labels))
        classifier.initialise(data.train.images[:5000])
    quiet = Progress(Console(file=io.StringIO()), len(data.train), recipe.epochs)
    with (
        tempfile.TemporaryDirectory() as folder,
        History(Path(folder)) as history,
        averaging(classifier, name == "weight averaging") as average,
    ):
        checkpoint = Checkpoint(Path(folder) / "checkpoint.pt", "ablation")
        seconds = fit(classifier, recipe, data, seed, Machine(), checkpoint, history, quiet)
    final = average.module if average else classifier
    held = evaluate(final.eval(), data.test, data.labels)
    seen = evaluate(final, data.train, data.labels)
    return held.accuracy, held.loss, seen.accuracy, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--network", choices=["lenet", "resnet"], default="lenet")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="rows to run (default: all)")
    options = parser.parse_args()
    epochs = options.epochs or EPOCHS[options.network]
    rows = (lenet_rows if options.network == "lenet" else resnet_rows)(epochs)
    residual.WIDTHS = tuple(width // 2 for width in residual.WIDTHS)
    data = hold_out(
        datasets.load(options.data, options.data_dir, build("lenet", 2).prepare, 0, memory=10**10)
    )
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {epochs} epochs")
    print("| recipe | held-out accuracy | loss | training accuracy | seconds |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for name, recipe in rows.items():
        if options.only and name not in options.only:
            continue
        found = [run(name, options.network, recipe, data, seed) for seed in range(options.seeds)]
        held, loss, seen, seconds = (statistics.mean(column) for column in zip(*found, strict=True))
        spread = f" ± {statistics.stdev(row[0] for row in found):.2%}" if len(found) > 1 else ""
        print(f"| {name} | {held:.2%}{spread} | {loss:.3f} | {seen:.2%} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
