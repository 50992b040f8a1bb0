"""Artefacts made for a test: a real TorchScript model of ten lines, with any `model.json`."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

LABELS = ["dark", "bright"]


class Brightness(nn.Module):
    """Tell dark pictures from bright ones by their mean: two classes, 4×4 input, one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.float() / 127.5 - 1).mean((2, 3))

    @torch.jit.export
    def prepare(self, image: Tensor) -> Tensor:
        resized = nn.functional.interpolate(image[None], [4, 4], mode="bilinear", antialias=True)
        return resized[0]


def card(name: str, **changes: Any) -> dict[str, Any]:
    """Make a `model.json` that fits Brightness, with changes; a change to None takes a key out."""
    fitting = {
        "schema": 1,
        "name": name,
        "version": "1.2.3",
        "labels": LABELS,
        "input": {"height": 4, "width": 4, "channels": 3},
        "metrics": {"accuracy": 1.0},
        "training": {"network": "brightness"},
        "parameters": 6,
        "macs": 96,
    }
    return {key: value for key, value in (fitting | changes).items() if value is not None}


def write_artefact(path: Path, module: nn.Module | None = None, **changes: Any) -> Path:
    """Write an artefact; `changes` to its `model.json`."""
    scripted = torch.jit.script(module or Brightness())
    extra = {"model.json": json.dumps(card(**{"name": path.stem} | changes))}
    torch.jit.save(scripted, str(path), _extra_files=extra)
    return path
