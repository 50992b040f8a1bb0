"""Do heat maps point at the object? Pictures pasted on one half of a grey canvas, and where the heat lies.

python benchmarks/heat.py FOLDER [--count 300]      (FOLDER: a folder a class, as for training)

Only pictures count that the model gives their class at least half. Prints, for each model and method, how
often the half with the object has more than half of the heat, and the mean share that lies there.
"""

import argparse
import random
import statistics
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from service.insight.heat import grad_cam, occlusion
from service.model import Model, load_models

GREY = 128
ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=300, help="pictures a model and size")
    given = parser.parse_args()
    print(f"torch {torch.__version__}; object size in cells of 32; share of heat: mean ± deviation")
    print("| model | object | n | grad-cam | hires-cam | occlusion |")
    print("| --- | --- | --- | --- | --- | --- |")
    for model in load_models(ROOT / "models").values():
        for side in (16, 20):
            print(f"| {model.name} | {side} | {measure(model, given.folder, side, given.count)} |")


def measure(model: Model, folder: Path, side: int, wanted: int) -> str:
    """Paste pictures until enough are classified right, and write a row of the table."""
    chance = random.Random(0)
    files = sorted(path for path in folder.rglob("*.*") if path.parent.name in model.card.labels)
    chance.shuffle(files)
    shares: dict[str, list[float]] = {"grad-cam": [], "hires-cam": [], "occlusion": []}
    for file in files:
        if len(shares["occlusion"]) == wanted:
            break
        pixels, half = paste(file, side, model.card.input.height, right=chance.random() < 0.5)
        index = model.card.labels.index(file.parent.name)
        if model.classify([pixels])[0, index] < 0.5:
            continue
        image = torch.from_numpy(pixels)
        heats = {
            "grad-cam": grad_cam(model.network, image, index).heat,
            "hires-cam": grad_cam(model.network, image, index, by_cell=True).heat,
            "occlusion": occlusion(model.classify, pixels, index, macs=model.card.macs, batch_size=32),
        }
        for method, heat in heats.items():
            positive = np.maximum(heat, 0)
            total = positive.sum()
            shares[method].append(float(positive[:, half].sum() / total) if total else 0.5)
    return " | ".join([str(len(shares["occlusion"])), *(summary(one) for one in shares.values())])


def summary(shares: list[float]) -> str:
    right = np.mean([share > 0.5 for share in shares])
    return f"{right:.0%} ({statistics.mean(shares):.2f} ± {statistics.stdev(shares):.2f})"


def paste(file: Path, side: int, size: int, *, right: bool) -> tuple[np.ndarray, slice]:
    """Put a picture on the left or right edge of a grey canvas: uint8 3×S×S, and that half's columns."""
    canvas = np.full((size, size, 3), GREY, np.uint8)
    scaled = round(size * side / 32)
    picture = Image.open(file).convert("RGB").resize((scaled, scaled), Image.Resampling.BILINEAR)
    top, left = (size - scaled) // 2, (size - scaled if right else 0)
    canvas[top : top + scaled, left : left + scaled] = np.asarray(picture)
    half = slice(size // 2, size) if right else slice(0, size // 2)
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)), half


if __name__ == "__main__":
    main()
