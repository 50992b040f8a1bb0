"""Measure what each part of the standard recipe gives: one changed at a time, on held-out pictures.

    python benchmarks/ablation.py --data FOLDER_OR_NAME --epochs 30 --seeds 1

A tenth of the training pictures is held out, the same for every row; the test part stays unseen.
Prints a Markdown table: held-out accuracy and loss, training accuracy (unaugmented), seconds.
"""

import argparse
import io
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from training import data as datasets
from training.checkpoint import Checkpoint
from training.data import Data, PictureSet
from training.evaluate import evaluate
from training.networks import build
from training.progress import Progress
from training.recipes import RECIPES, Recipe
from training.train import fit


def variants(epochs: int) -> dict[str, Recipe]:
    """Give the rows: the standard recipe without label smoothing, and that with one part changed."""
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


def hold_out(data: Data) -> Data:
    """Keep a tenth of the training pictures, the same every time, to measure on instead of the test part."""
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(2026))
    held, kept = order.split([len(order) // 10, len(order) - len(order) // 10])
    train = data.train
    return replace(
        data,
        train=PictureSet(train.images[kept], train.labels[kept]),
        test=PictureSet(train.images[held], train.labels[held]),
        split="held-out",
    )


def run(recipe: Recipe, data: Data, seed: int) -> tuple[float, float, float, float]:
    """Fit once: held-out accuracy and loss, training accuracy, seconds."""
    torch.manual_seed(seed)
    classifier = build("lenet", len(data.labels)).to(data.train.labels.device)
    quiet = Progress(Console(file=io.StringIO()), len(data.train), recipe.epochs)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder) / "checkpoint.pt", "ablation")
        seconds = fit(classifier, recipe, data, seed, checkpoint, quiet)
    held = evaluate(classifier.eval(), data.test, data.labels)
    seen = evaluate(classifier, data.train, data.labels)
    return held.accuracy, held.loss, seen.accuracy, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="rows to run (default: all)")
    options = parser.parse_args()
    data = hold_out(datasets.load(options.data, options.data_dir, build("lenet", 2).prepare, 0))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.epochs} epochs")
    print("| recipe | held-out accuracy | loss | training accuracy | seconds |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    for name, recipe in variants(options.epochs).items():
        if options.only and name not in options.only:
            continue
        rows = [run(recipe, data, seed) for seed in range(options.seeds)]
        held, loss, seen, seconds = (statistics.mean(column) for column in zip(*rows, strict=True))
        spread = f" ± {statistics.stdev(row[0] for row in rows):.2%}" if len(rows) > 1 else ""
        print(f"| {name} | {held:.2%}{spread} | {loss:.3f} | {seen:.2%} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
