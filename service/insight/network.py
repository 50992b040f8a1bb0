"""Run a frozen graph so that every layer's numbers are seen, or from the middle on, for a gradient."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from service.errors import InvalidRequest
from service.insight.kinds import TensorType, Value
from service.insight.reading import INPUT_NAME, Layer, read_layers


class Network:
    """A frozen graph of one input beside the module: uint8 N×C×S×S -> float32 N×classes, logits.

    What stands in a branch or a loop is seen as the one layer the branch or loop is. Raises InvalidRequest
    where the graph cannot run without the module: where it changes it, or torch does not freeze it whole
    (its own attention).
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph.copy()
        torch._C._jit_pass_remove_mutation(self.graph)  # `relu_` overwrites what is to be shown
        if next(self.graph.inputs()).uses():
            raise InvalidRequest(
                "the network's graph does not hold all that it computes with, so its layers cannot be shown;"
                " /predict and method=occlusion work",
                field="model",
            )
        self.layers, self.last = read_layers(self.graph)  # `last` gives the logits
        if not self.last:
            raise InvalidRequest(
                "no layers lead from the picture to what the network answers; /predict and"
                " method=occlusion work",
                field="model",
            )
        # Which of all values: a copy's have other names.
        places = {value.debugName(): place for place, value in enumerate(values_of(self.graph))}
        self.places = {layer.name: places[layer.value.debugName()] for layer in self.layers}
        self.by_name = {layer.name: layer for layer in self.layers}

    def find(self, name: str) -> Layer:
        """Find a layer. Raises InvalidRequest that lists what there is."""
        try:
            return self.by_name[name]
        except KeyError:
            raise InvalidRequest(
                f"there is no layer {name[:60]!r}; the layers are {', '.join(self.by_name)}", field="layer"
            ) from None

    def run(self, image: Tensor) -> dict[str, Tensor]:
        """Give `input`, the picture (uint8 C×S×S), and every layer's output for it, by name, in order.

        Outputs are as the network has them, without the axis of the batch: float32 C×H×W, or K. Of a
        complex number it is the absolute value.
        """
        named = {name: unbatched(output) for name, output in self.run_batch(image[None]).items()}
        return {INPUT_NAME: image} | named

    def run_batch(self, images: Tensor) -> dict[str, Tensor]:
        """Give every layer's output for uint8 N×C×S×S, with the axis of the batch, wherever it may be."""
        with torch.inference_mode():
            outputs = self.seen(images)
        return {layer.name: one for layer, one in zip(self.layers, outputs, strict=True)}

    @cached_property
    def seen(self) -> Callable[[Tensor], tuple[Tensor, ...]]:
        """The function from pictures to every layer's output, in the order of `layers`."""
        graph = self.graph.copy()
        values = values_of(graph)
        graph.eraseOutput(0)
        ordered = kept(graph, [values[self.places[layer.name]] for layer in self.layers])
        together = graph.create("prim::TupleConstruct", ordered, 1)
        together.output().setType(torch._C.TupleType([TensorType.get()] * len(ordered)))
        graph.appendNode(together)
        graph.registerOutput(together.output())
        graph.eraseInput(0)  # the module, whose weights are constants by now
        function: Callable[[Tensor], tuple[Tensor, ...]] = torch._C._create_function_from_graph("seen", graph)
        return function

    def rest(self, layer: Layer) -> Callable[[Tensor, Tensor], Tensor]:
        """Make the function from pictures and `layer`'s output to the logits."""
        graph = self.graph.copy()
        inner = values_of(graph)[self.places[layer.name]]
        given = graph.addInput("given")
        given.setType(inner.type())
        inner.replaceAllUsesWith(given)
        graph.eraseInput(0)
        torch._C._jit_pass_dce(graph)
        function: Callable[[Tensor, Tensor], Tensor] = torch._C._create_function_from_graph("rest", graph)
        return function


def values_of(graph: Any) -> list[Value]:
    """List every value that a graph computes, in order."""
    return [value for node in graph.nodes() for value in node.outputs()]


def kept(graph: Any, values: list[Value]) -> list[Value]:
    """Have values copied as soon as they are there: what still works in place may overwrite them."""
    none = graph.prependNode(graph.create("prim::Constant", 1))
    none.output().setType(torch._C.NoneType.get())
    copies = []
    for value in values:
        copy = graph.create("aten::clone", [value, none.output()], 1)
        copy.insertAfter(value.node())
        copies.append(copy.output())
    return copies


def unbatched(output: Tensor) -> Tensor:
    """Take the axis of the batch off, where it is there."""
    output = output.abs() if output.is_complex() else output
    return output[0] if output.dim() > 1 and len(output) == 1 else output
