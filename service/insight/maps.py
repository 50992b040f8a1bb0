"""Show a layer's numbers: feature maps as one strip of 8-bit levels in a PNG, a vector as numbers."""

from base64 import b64encode
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from service.matrices.rendering import encode_png

MOST_MAPS = 64
LARGEST_SIDE = 64  # cells a map is shown with; larger ones are averaged down
MOST_NUMBERS = 4096  # of a vector
DIGITS = 6


def show_output(output: Tensor, *, with_maps: bool = True) -> dict[str, Any]:
    """Describe a layer's output: its shape, its range, and `maps` or `numbers` to look at.

    `output` is float C×H×W, H×W or K; of another rank there is nothing to look at.
    """
    output = output.float()
    low, high = span(output)
    shown: dict[str, Any] = {
        "output_shape": list(output.shape),
        "minimum": brief(low),
        "maximum": brief(high),
    }
    if not with_maps or not output.numel():
        return shown
    if output.dim() == 1:
        return shown | {"numbers": [brief(value) for value in output[:MOST_NUMBERS].tolist()]}
    if output.dim() in {2, 3}:
        return shown | {"maps": show_maps(output if output.dim() == 3 else output[None])}
    return shown


def span(output: Tensor) -> tuple[float, float]:
    """Give the least and the largest of the numbers that are finite; 0 and 0 where there are none."""
    finite = output[output.isfinite()]
    return (finite.min().item(), finite.max().item()) if len(finite) else (0.0, 0.0)


def show_maps(maps: Tensor) -> dict[str, Any]:
    """Lay the first MOST_MAPS of float C×H×W side by side: level 0 is the least of all C, 255 the most."""
    low, high = span(maps)
    some = maps[:MOST_MAPS].double()
    height, width = (min(side, LARGEST_SIDE) for side in maps.shape[1:])
    if (height, width) != tuple(maps.shape[1:]):
        some = F.adaptive_avg_pool2d(some, (height, width))
    levels = ((some - low) / ((high - low) or 1) * 255).nan_to_num().clamp(0, 255).round().to(torch.uint8)
    strip = levels.permute(1, 0, 2).reshape(1, height, -1).numpy()
    return {"count": len(some), "height": height, "width": width, "png": encode(strip)}


def encode(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    """Encode uint8 1×H×W or 3×H×W as a PNG in base64."""
    return b64encode(encode_png(picture)).decode()


def brief(value: float) -> float:
    """Round to as many digits as float32 tells apart; fewer bytes to send."""
    return float(f"{value:.{DIGITS}g}")
