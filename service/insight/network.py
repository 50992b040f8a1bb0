"""Run a frozen graph so that every layer's numbers are seen, or from the middle on, for a gradient."""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from service.errors import InvalidRequest
from service.insight.kinds import Value
from service.insight.reading import INPUT_NAME, Layer, read_layers


class Network:
    """A frozen graph of one input beside the module: uint8 N×C×S×S -> float32 N×classes, logits.

    Any graph will do. What stands in a branch or a loop is seen as the one layer the branch or loop is.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph.copy()
        torch._C._jit_pass_remove_mutation(self.graph)  # `relu_` overwrites what is to be shown
        self.layers = read_layers(self.graph)
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

        Outputs are as the network has them, without the axis of the batch: float32 C×H×W, or K.
        """
        with torch.inference_mode():
            outputs = self.seen(image[None])
        named = {layer.name: unbatched(one) for layer, one in zip(self.layers, outputs, strict=True)}
        return {INPUT_NAME: image} | named

    @cached_property
    def seen(self) -> Callable[[Tensor], tuple[Tensor, ...]]:
        """The function from pictures to every layer's output, in the order of `layers`."""
        graph = self.graph.copy()
        values = dict(outputs_of(graph))
        for _ in list(graph.outputs()):
            graph.eraseOutput(0)
        ordered = [values[layer.node.output().debugName()] for layer in self.layers]
        together = graph.create("prim::TupleConstruct", ordered, 1)
        together.output().setType(torch._C.TupleType([torch._C.TensorType.get()] * len(ordered)))
        graph.appendNode(together)
        graph.registerOutput(together.output())
        graph.eraseInput(0)  # the module, whose weights are constants by now
        function: Callable[[Tensor], tuple[Tensor, ...]] = torch._C._create_function_from_graph("seen", graph)
        return function

    def rest(self, layer: Layer) -> Callable[[Tensor, Tensor], Tensor]:
        """Make the function from pictures and `layer`'s output to the logits."""
        graph = self.graph.copy()
        inner = dict(outputs_of(graph))[layer.node.output().debugName()]
        given = graph.addInput("given")
        given.setType(inner.type())
        inner.replaceAllUsesWith(given)
        graph.eraseInput(0)
        torch._C._jit_pass_dce(graph)
        function: Callable[[Tensor, Tensor], Tensor] = torch._C._create_function_from_graph("rest", graph)
        return function


def outputs_of(graph: Any) -> Iterator[tuple[str, Value]]:
    for node in graph.nodes():
        for value in node.outputs():
            yield value.debugName(), value


def unbatched(output: Tensor) -> Tensor:
    """Take the axis of the batch off, where it is there."""
    return output[0] if output.dim() > 1 and len(output) == 1 else output
