"""A model that numbers its pictures, fails on some and hangs on others, as somebody's graph may."""

import io
import json
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.reliability.wire import request
from benchmarks.serving.payloads import encode

RAISES, HANGS, HANGS_FOR_EVER = 251, 252, 253
NUMBERS = 250  # of pictures that are answered


class Numbers(nn.Module):
    """Answer with the mean of a 4×4 picture as its class, of 256; three of them do harm."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps  # of a hang that ends
        self.classes = nn.Parameter(torch.arange(256).float())

    def forward(self, images: Tensor) -> Tensor:
        means = images.float().mean((1, 2, 3))
        if bool((means == 251).any()):
            raise RuntimeError("the model cannot take this picture")
        if bool((means == 252).any()):
            work = torch.eye(300)
            for _ in range(self.steps):
                work = work @ work
            means = means + work.sum() * 0
        while bool((means == 253).any()):
            means = means.clamp(0, 253)
        return -((means[:, None] - self.classes[None]) ** 2)

    @torch.jit.export
    def prepare(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(image[None], [4, 4], mode="bilinear", antialias=True)[0]


def write(folder: Path, steps: int = 0) -> Path:
    """Write `numbers.pt` into a folder."""
    card = {
        "schema": 1,
        "name": "numbers",
        "version": "1",
        "labels": [str(number) for number in range(256)],
        "input": {"height": 4, "width": 4, "channels": 3},
        "metrics": {},
        "training": {},
        "parameters": 256,
        "macs": 256,
    }
    path = folder / "numbers.pt"
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Numbers(steps)), file, _extra_files={"model.json": json.dumps(card)})
    beside = folder / ".numbers"
    beside.write_bytes(file.getvalue())
    return beside.rename(path)


@cache
def numbered(number: int) -> bytes:
    """Draw the picture of a number, 0 to 255, as a PNG."""
    return encode(Image.new("RGB", (4, 4), (number,) * 3), "PNG")


@cache
def ask_for(number: int) -> bytes:
    """Write the request for a number's picture."""
    return request("POST", "/predict?top_k=1", numbered(number), content_type="image/png")
