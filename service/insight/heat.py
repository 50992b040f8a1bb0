"""Where in a picture a class is seen: Grad-CAM, and occlusion. Blocking; heat maps are float64 S×S."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from service.errors import InvalidRequest
from service.insight.network import Network
from service.insight.reading import Layer

Pixels = NDArray[np.uint8]
Heat = NDArray[np.float64]
Classify = Callable[[list[Pixels]], NDArray[np.float64]]

FOUND = {"activation", "pooling", "sum", "concatenation"}  # what a network has found, not what it sums up
COARSEST = 4  # cells a side: of a 3×3 map, where a thing is can hardly be said
PATCH = 4  # a patch is a fourth of the picture's side
POSITIONS, FEWER_POSITIONS = 13, 7  # of the patch, a side
MOST_MACS = 100_000_000_000  # of all positions together, before fewer are tried: seconds on a core
ROUNDING = 1e-4  # of log-odds: what a batch of another size alone may move them by
CERTAIN = 1e-12  # probabilities are kept this far from 0 and 1


class GradCam(NamedTuple):
    """A heat map, and the layer whose maps it weighs."""

    heat: Heat
    layer: str


def grad_cam(network: Network, image: Tensor, index: int, *, by_cell: bool = False) -> GradCam:
    """Weigh a layer's maps by how much the class's logit rises with them; what lowers it is 0.

    `image` is uint8 C×S×S, `index` the class. The layer is the last whose maps are COARSEST cells a side
    at least. A map's weight is its mean slope; `by_cell` weighs each cell by its own slope instead.
    Sources: R. Selvaraju et al. 2017, "Grad-CAM"; by cell,
    R. Draelos, L. Carin 2020, "HiResCAM". Raises InvalidRequest where the network has no maps.
    """
    outputs = network.run_batch(image[None])
    layer = last_with_maps(network, outputs)
    with torch.enable_grad():
        maps = outputs[layer.name].float().clone().requires_grad_()
        slopes = slopes_of(network.rest(layer)(image[None], maps.clone())[0, index], maps)
    weights = slopes if by_cell else slopes.mean((2, 3), keepdim=True)
    seen = (weights * maps.detach()).sum(1, keepdim=True).relu().nan_to_num()
    side: list[int] = list(image.shape[1:])
    fine = F.interpolate(seen, side, mode="bilinear", align_corners=False)
    return GradCam(fine[0, 0].double().numpy(), layer.name)


def slopes_of(logit: Tensor, maps: Tensor) -> Tensor:
    """Give how much a logit rises with each number of `maps`. Raises InvalidRequest where none is known."""
    slopes = torch.autograd.grad(logit, maps, allow_unused=True)[0] if logit.requires_grad else None
    if slopes is None:
        raise InvalidRequest(
            "no slope leads from the network's answer to its feature maps; use method=occlusion",
            field="method",
        )
    return slopes.nan_to_num(0, 0, 0)  # a square root's is infinite at 0


def last_with_maps(network: Network, outputs: dict[str, Tensor]) -> Layer:
    """Find the last layer with maps, of COARSEST cells a side and of a known kind if there is one.

    `outputs` are as the network has them, maps 1×C×H×W: N×H×W×C or an attention's N×heads×T×T are not told
    from them by their axes, but by the kinds of the layers they come from.
    """
    having = [
        layer
        for layer in network.layers
        if outputs[layer.name].dim() == 4
        and len(outputs[layer.name]) == 1
        and not outputs[layer.name].is_complex()
        and layer.kind.word not in {"scaling", "softmax"}
    ]
    having = [layer for layer in having if layer.kind.word != "other"] or having
    # A convolution's own maps point less well than what is made of them: 0.72 of the heat on the right side,
    # and 0.79 after pooling and GELU (161 pictures pasted on one side, the committed residual network).
    found = [layer for layer in having if layer.kind.word in FOUND]
    for some in (found, having):
        fine = [layer for layer in some if min(outputs[layer.name].shape[2:]) >= COARSEST]
        if fine:
            return fine[-1]
    if not having:
        raise InvalidRequest(
            "the network has no feature maps, which Grad-CAM weighs; use method=occlusion", field="method"
        )
    return (found or having)[-1]


def occlusion(classify: Classify, image: Pixels, index: int, *, macs: int, batch_size: int) -> Heat:
    """Hide every part of the picture in turn, and note how far the class's log-odds fall.

    `image` is uint8 C×S×S, `macs` the multiply-adds of one picture. The patch has the picture's mean
    colour; a pixel's heat is the mean over the patches that hid it, negative where hiding it helped.
    Source: M. Zeiler, R. Fergus 2014, "Visualizing and Understanding Convolutional Networks".
    """
    positions = POSITIONS if POSITIONS**2 * macs <= MOST_MACS else FEWER_POSITIONS
    boxes = patches(image.shape[1], image.shape[2], positions)
    mean = image.mean((1, 2), keepdims=True).round().astype(np.uint8)
    whole = log_odds(classify([image])[0, index])
    heat, times = np.zeros(image.shape[1:]), np.zeros(image.shape[1:])
    for start in range(0, len(boxes), batch_size):
        some = boxes[start : start + batch_size]
        hidden = []
        for box in some:
            copy = image.copy()
            copy[:, *box] = mean
            hidden.append(copy)
        for box, probability in zip(some, classify(hidden)[:, index], strict=True):
            heat[box] += whole - log_odds(probability)
            times[box] += 1
    heat /= times
    heat[np.abs(heat) < ROUNDING] = 0
    return heat


def patches(height: int, width: int, positions: int) -> list[tuple[slice, slice]]:
    """Place a patch, a fourth of each side, evenly from edge to edge, row by row."""
    spans = []
    for side in (height, width):
        length = max(1, side // PATCH)
        starts = np.linspace(0, side - length, min(positions, side - length + 1)).round().astype(int).tolist()
        spans.append([slice(start, start + length) for start in starts])
    return [(rows, columns) for rows in spans[0] for columns in spans[1]]


def log_odds(probability: float) -> float:
    """Give ln(p / (1 - p)): unlike p itself it still moves where the network is nearly certain."""
    kept = min(max(probability, CERTAIN), 1 - CERTAIN)
    return float(np.log(kept / (1 - kept)))
