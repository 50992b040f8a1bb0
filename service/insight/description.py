"""Say what a layer is: its parameters in the article's words, and its size by the formula."""

from typing import Any

from torch import Tensor

from service.arithmetic.geometry import Axis, Geometry, describe_size
from service.insight.kinds import Node, constant, operator
from service.insight.reading import Layer

WORDS = {"add": "+", "sub": "−", "mul": "×", "div": "÷"}


def describe(layer: Layer, before: Tensor, after: Tensor) -> dict[str, Any]:
    """Describe a layer by its operator's arguments, its input `before` and its output `after`.

    `parameters` are what its author chose; `size` is there where a window slides.
    """
    described: dict[str, Any] = {
        "name": layer.name,
        "kind": layer.kind.word,
        "title": layer.kind.title,
        "inputs": layer.inputs,
        "parameter_count": layer.parameter_count,
        "parameters": {},
    }
    geometry = sliding(layer, before)
    if geometry is not None:
        described["parameters"] = window_of(geometry)
        fits = geometry.output == tuple(after.shape[1:])  # a pooling may count windows cut off by the edge
        described |= {"size": describe_size(geometry)} if fits else {}
    match layer.kind.word:
        case "convolution":
            filters = layer.learned[0]
            described["parameters"] |= {
                "input_channels": before.shape[0],
                "output_channels": filters.shape[0],
                "groups": layer.arguments[6],
                "bias": len(layer.learned) > 1,
            }
        case "fully-connected" if layer.learned:
            outputs, inputs = layer.learned[0].shape
            described["parameters"] = {"inputs": inputs, "outputs": outputs, "bias": len(layer.learned) > 1}
        case "scaling":
            described["parameters"] = {
                "operations": [text for node in layer.nodes if (text := scaling(node))]
            }
    return described


def sliding(layer: Layer, before: Tensor) -> Geometry | None:
    """Say where a layer's window falls on its input C×H×W; None where it has none, or not one size."""
    given = layer.arguments
    if before.dim() != 3 or layer.kind.word not in {"convolution", "pooling"}:
        return None
    match operator(layer.node):
        case "conv2d":
            window, stride, padding, dilation = list(layer.learned[0].shape[2:]), *given[3:6]
        case "max_pool2d":
            window, stride, padding, dilation = given[1], given[2] or given[1], given[3], given[4]
        case "avg_pool2d":
            window, stride, padding, dilation = given[1], given[2] or given[1], given[3], 1
        case "amax" | "mean":
            window, stride, padding, dilation = list(before.shape[1:]), 1, 0, 1
        case "adaptive_max_pool2d" | "adaptive_avg_pool2d" if divides(given[1], before):
            window = [n // cells for n, cells in zip(before.shape[1:], pair(given[1]), strict=True)]
            stride, padding, dilation = window, 0, 1
        case _:
            return None
    if None in (stride, padding, dilation) or window is None:
        return None
    pairs = [pair(one) for one in (window, stride, dilation)]
    axes = []
    for axis, n in enumerate(before.shape[1:]):
        f, s, d = (one[axis] for one in pairs)
        start, end = sides(padding, axis, reach=d * (f - 1))
        axes.append(Axis(n, start, end, f, s, d))
    return Geometry(*axes)


def divides(cells: Any, before: Tensor) -> bool:
    """Whether maps come out as so many cells a side, known beforehand, of equal windows."""
    return cells is not None and not any(n % m for n, m in zip(before.shape[1:], pair(cells), strict=True))


def pair(value: Any) -> tuple[int, int]:
    """Give (vertical, horizontal) of a number, or of one or two in a list."""
    numbers = [int(one) for one in value] if hasattr(value, "__iter__") else [int(value)]
    return numbers[0], numbers[-1]


def sides(padding: Any, axis: int, reach: int) -> tuple[int, int]:
    """Give the cells before and after of a convolution's padding, a number a side or a word."""
    if isinstance(padding, str):
        return (reach // 2, reach - reach // 2) if padding == "same" else (0, 0)
    return pair(padding)[axis], pair(padding)[axis]


def window_of(geometry: Geometry) -> dict[str, Any]:
    axes = (geometry.height, geometry.width)
    described: dict[str, Any] = {
        "filter": [axis.f for axis in axes],
        "stride": [axis.s for axis in axes],
        "padding": [axis.before for axis in axes],
    }
    return described | ({"dilation": [axis.d for axis in axes]} if any(axis.d > 1 for axis in axes) else {})


def scaling(node: Node) -> str:
    """Write a scaling as arithmetic, `÷ 127.5`; nothing for what changes the type alone."""
    number = next((constant(value) for value in list(node.inputs())[1:2]), None)
    sign = WORDS.get(operator(node))
    if sign is None or number is None:
        return ""
    value = float(number)
    return "" if value == 1 and sign in "×÷" else f"{sign} {value:.6g}"
