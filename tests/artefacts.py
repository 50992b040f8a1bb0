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


class Weird(nn.Module):
    """The start of networks that nobody had in mind: 16×16 input, one convolution, two classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    @torch.jit.export
    def prepare(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(image[None], [16, 16], mode="bilinear", antialias=True)[0]


class Chunks(Weird):
    """Splits its maps in two, and works on the second half."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(2, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        first, second = self.conv(images.float() / 255).chunk(2, 1)
        return self.fc(torch.cat([first, self.second(second)], 1).mean((2, 3)))


class Large(nn.Module):
    """80 maps of 224×224."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 80, 1)
        self.fc = nn.Linear(80, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images.float() / 255).mean((2, 3)))

    @torch.jit.export
    def prepare(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(image[None], [224, 224], mode="bilinear", antialias=True)[0]


class Grey(Weird):
    """Takes one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images.float() / 255).relu().amax((2, 3)))


class Flat(Weird):
    """Has no convolution, and no maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Identity()
        self.fc = nn.Linear(3 * 16 * 16, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(images.flatten(1).float() / 255)


class LeftHalf(nn.Module):
    """Looks at the left half of a 16×16 picture alone: the brighter, the likelier the second class."""

    left: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("left", (torch.arange(16) < 8).float())
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images.float() / 255 * self.left).mean((2, 3))

    @torch.jit.export
    def prepare(self, image: Tensor) -> Tensor:
        return nn.functional.interpolate(image[None], [16, 16], mode="bilinear", antialias=True)[0]


def write_weird(path: Path, module: nn.Module, side: int = 16, channels: int = 3, **changes: Any) -> Path:
    """Write an artefact of a network of `side`×`side` pictures; `changes` to its `model.json`."""
    fitting = {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "input": {"height": side, "width": side, "channels": channels},
    }
    return write_artefact(path, module, **fitting | changes)
