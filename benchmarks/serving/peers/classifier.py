"""Decode and classify as every peer does it: one module for all, so that differences are the servers'."""

import os
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHOWN = 5
WARM_UP_RUNS = 3  # TorchScript profiles a graph in its first runs and rewrites it

Answer = dict[str, list[dict[str, Any]]]


class Classifier:
    """The artefact that `ARTEFACT` names, with `TORCH_THREADS` threads, or torch's own choice of them."""

    def __init__(self) -> None:
        if threads := os.environ.get("TORCH_THREADS"):
            torch.set_num_threads(int(threads))
        self.module = torch.jit.load(os.environ["ARTEFACT"], map_location="cpu").eval().float()
        for count in (1, 32):
            for _ in range(WARM_UP_RUNS):
                self.classify([torch.zeros(3, 32, 32, dtype=torch.uint8)] * count)

    def decode(self, data: bytes) -> Tensor:
        """Decode a picture's file and make it the model's input, uint8 3×S×S, RGB, 0..255."""
        image = Image.open(BytesIO(data)).convert("RGB")
        with torch.inference_mode():
            return self.module.prepare(pil_to_tensor(image))

    def classify(self, pictures: list[Tensor]) -> list[Answer]:
        """Name the likeliest classes of each picture, uint8 3×S×S."""
        with torch.inference_mode():
            probabilities = self.module(torch.stack(pictures)).double().softmax(1)
        return [rank(row) for row in probabilities.tolist()]


def rank(row: list[float]) -> Answer:
    """Make an answer of one picture's probabilities, the likeliest class first."""
    best = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:SHOWN]
    return {"predictions": [{"label": LABELS[i], "index": i, "probability": row[i]} for i in best]}
