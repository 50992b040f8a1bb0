"""What /layers and /explain answer for one prepared picture. Blocking: a worker's thread runs it."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.errors import InvalidRequest
from service.insight.cells import Place, explain_cell, place_in
from service.insight.description import describe
from service.insight.heat import Heat, grad_cam, occlusion
from service.insight.kinds import INPUT, SOFTMAX
from service.insight.maps import brief, encode, show_output
from service.insight.reading import INPUT_NAME, SOFTMAX_NAME
from service.model import Model

Pixels = NDArray[np.uint8]  # C×S×S, 0..255
Method = Literal["grad-cam", "hires-cam", "occlusion"]


def answer_layers(model: Model, pixels: Pixels, with_maps: bool = True) -> dict[str, Any]:
    """Describe the picture's way through the network, layer by layer."""
    image = torch.from_numpy(pixels)
    outputs = model.network.run(image)
    layers: list[dict[str, Any]] = [
        describe(layer, outputs[layer.inputs[0]], outputs[layer.name])
        | show_output(outputs[layer.name], with_maps=with_maps)
        for layer in model.network.layers
    ]
    return {
        "input": {"name": INPUT_NAME, "kind": INPUT.word, "title": INPUT.title}
        | {"output_shape": list(image.shape), "png": encode(pixels)},
        "layers": [*layers, describe_softmax(model.network.last, outputs)],
    }


def describe_softmax(logits: str, outputs: dict[str, Tensor]) -> dict[str, Any]:
    """Describe the last step, which is not in the graph: logits into probabilities."""
    described = {"name": SOFTMAX_NAME, "kind": SOFTMAX.word, "title": SOFTMAX.title, "inputs": [logits]}
    probabilities = outputs[logits].double().softmax(0)
    return described | {"parameter_count": 0, "parameters": {}} | show_output(probabilities)


def answer_cell(model: Model, pixels: Pixels, name: str, place: Place) -> dict[str, Any]:
    """Give one cell of a layer's output, and the numbers it was computed from."""
    layer = model.network.find(name)
    outputs = model.network.run(torch.from_numpy(pixels))
    index = place_in(outputs[name], *place)
    named = dict(zip(("channel", "row", "column"), place, strict=True))
    described = {"layer": name, "kind": layer.kind.word, "title": layer.kind.title, "inputs": layer.inputs}
    return described | named | explain_cell(layer, outputs, index)


def answer_heat(
    model: Model, pixels: Pixels, method: Method, label: str | None, batch_size: int
) -> tuple[dict[str, Any], Heat]:
    """Give what is known of a heat map, and the map, float64 S×S. Raises InvalidRequest."""
    labels = model.card.labels
    if label is not None and label not in labels:
        raise InvalidRequest(
            f"there is no label {label[:60]!r}; {model.name} knows {', '.join(labels[:50])}", field="label"
        )
    probabilities = model.classify([pixels])[0]
    index = int(probabilities.argmax()) if label is None else labels.index(label)
    known: dict[str, Any] = {"method": method, "label": labels[index], "index": index}
    known["probability"] = float(probabilities[index])
    if method == "occlusion":
        return known, occlusion(model.classify, pixels, index, macs=model.card.macs, batch_size=batch_size)
    found = grad_cam(model.network, torch.from_numpy(pixels), index, by_cell=method == "hires-cam")
    return known | {"layer": found.layer}, found.heat


def heat_numbers(heat: Heat) -> dict[str, Any]:
    """Give a heat map as numbers."""
    return {
        "shape": list(heat.shape),
        "minimum": brief(heat.min()),
        "maximum": brief(heat.max()),
        "heat": [[brief(value) for value in row] for row in heat.tolist()],
    }
