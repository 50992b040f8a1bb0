"""One cell of a layer's output, with the numbers it was computed from."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own convention)

from service.arithmetic.geometry import Geometry
from service.errors import InvalidRequest
from service.insight.description import sliding
from service.insight.maps import brief
from service.insight.reading import Layer

Place = tuple[int, ...]  # channel, row, column; or the place in a vector alone


def explain_cell(layer: Layer, outputs: dict[str, Tensor], place: Place) -> dict[str, Any]:
    """Give the value at `place` of a layer's output and what went into it.

    `window` is what the layer looked at there: C×f×f for a convolution, f×f for a pooling, null where it
    is padding; all N inputs of a fully connected layer; one number an input for what works cell by cell.
    A convolution and a fully connected layer add their `filter` of the same shape, the sums of products
    (`sums` one a channel, `sum` of all) and the `bias`; `place` says where the window lies.
    """
    before, after = outputs[layer.inputs[0]], outputs[layer.name]
    check_place(place, after)
    answer: dict[str, Any] = {"value": brief(after[place].item())}
    geometry = sliding(layer, before)
    if layer.kind.word == "convolution" and geometry is not None:
        return answer | convolution_cell(layer, geometry, before.float(), place)
    if layer.kind.word == "fully-connected" and layer.learned and before.dim() == 1:
        return answer | connected_cell(layer, before.float(), place)
    if geometry is not None:
        channel, *corner = place if after.dim() == 3 else (*place, 0, 0)
        window, at = cut(before[channel : channel + 1].float(), geometry, corner)
        return answer | {"window": numbers(window)[0], "place": at | {"channel": channel}}
    return answer | pointwise_cell(layer, outputs, place)


def check_place(place: Place, output: Tensor) -> None:
    """Raise InvalidRequest where the output has no such cell."""
    names = ("row", "column") if output.dim() == 2 else ("channel", "row", "column")
    if output.dim() > len(place):
        raise InvalidRequest(f"this layer's output has {output.dim()} axes; no cell is shown", field="layer")
    for name, index, size in zip(names, place, output.shape, strict=False):
        if index >= size:
            raise InvalidRequest(f"{name} is {index}; this layer has {size}, from 0", field=name)


def place_in(output: Tensor, channel: int, row: int, column: int) -> Place:
    """Name a cell by as many indices as the output has axes."""
    return (channel, row, column)[: output.dim()] if output.dim() != 2 else (row, column)


def convolution_cell(layer: Layer, geometry: Geometry, before: Tensor, place: Place) -> dict[str, Any]:
    channel, *corner = place
    weight = layer.learned[0][channel].double()
    group = channel * layer.arguments[6] // len(layer.learned[0])
    first = group * len(weight)
    window, at = cut(before[first : first + len(weight)], geometry, corner)
    sums = (window.nan_to_num(0) * weight).sum((1, 2))
    return {
        "window": numbers(window),
        "filter": numbers(weight),
        "sums": numbers(sums),
        "sum": brief(sums.sum().item()),
        "bias": bias_of(layer, channel),
        "place": at | {"channel": first},
    }


def connected_cell(layer: Layer, before: Tensor, place: Place) -> dict[str, Any]:
    weight = layer.learned[0][place[0]].double()
    return {
        "window": numbers(before),
        "filter": numbers(weight),
        "sum": brief((before.double() * weight).sum().item()),
        "bias": bias_of(layer, place[0]),
    }


def pointwise_cell(layer: Layer, outputs: dict[str, Tensor], place: Place) -> dict[str, Any]:
    """Give the numbers in the same place of a layer's inputs, or where a flattened number came from."""
    before, after = outputs[layer.inputs[0]], outputs[layer.name]
    if layer.kind.word == "flatten" and before.dim() == 3 and after.shape == (before.numel(),):
        channel, row, column = (int(i) for i in torch.unravel_index(torch.tensor(place[0]), before.shape))
        found = before[channel, row, column].item()
        return {"window": [brief(found)], "place": {"channel": channel, "top": row, "left": column}}
    same = [outputs[name].expand(after.shape) for name in layer.inputs if spreads(outputs[name], after)]
    return {"window": [brief(one[place].item()) for one in same]}


def spreads(before: Tensor, after: Tensor) -> bool:
    """Whether a layer's input is of its output's size, or one number where that has several: K×1×1."""
    sizes = zip(before.shape, after.shape, strict=False)
    return before.dim() == after.dim() and all(n in {1, m} for n, m in sizes)


def cut(maps: Tensor, geometry: Geometry, corner: list[int]) -> tuple[Tensor, dict[str, int]]:
    """Cut the window of an output cell out of float C×H×W: float64 C×fh×fw, NaN where it is padding."""
    axes = (geometry.height, geometry.width)
    high, wide = axes
    padded = F.pad(
        maps.double(), (wide.before, wide.after + wide.s, high.before, high.after + high.s), value=torch.nan
    )
    starts = [index * axis.s for index, axis in zip(corner, axes, strict=True)]
    rows, columns = (
        slice(start, start + axis.reach, axis.d) for start, axis in zip(starts, axes, strict=True)
    )
    at = {"top": starts[0] - high.before, "left": starts[1] - wide.before}
    return padded[:, rows, columns], at | {"height": high.f, "width": wide.f}


def bias_of(layer: Layer, channel: int) -> float | None:
    return brief(layer.learned[1][channel].item()) if len(layer.learned) > 1 else None


def numbers(values: Tensor) -> Any:
    """Give nested lists, null where a number is NaN: there is only padding."""
    return rounded(values.tolist())


def rounded(values: Any) -> Any:
    if isinstance(values, list):
        return [rounded(one) for one in values]
    return None if math.isnan(values) else brief(values)
