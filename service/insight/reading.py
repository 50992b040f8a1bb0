"""Read a frozen graph as the layers of a lesson: convolution, ReLU, max pooling, flatten, fully connected."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from service.insight.kinds import SCALING, Kind, Node, Value, constant, kind_of, operator

INPUT_NAME, SOFTMAX_NAME = "input", "softmax"  # before the first layer, after the last
# Which inputs of an operator are learned numbers.
LEARNED = {
    "conv2d": (1, 2),
    "linear": (1, 2),
    "batch_norm": (1, 2),
    "instance_norm": (1, 2),
    "group_norm": (2, 3),
    "layer_norm": (2, 3),
    "prelu": (1,),
}


@dataclass
class Layer:
    """One step of a picture's way through a network."""

    name: str  # as the network's author has it, or its kind and a number: `conv1`, `relu2`
    kind: Kind
    inputs: list[str]  # names of the layers it takes its numbers from
    nodes: list[Node] = field(repr=False)  # several for scaling alone: to float, / 127.5, - 1
    learned: list[Tensor] = field(repr=False)  # weight, then bias, float32

    @property
    def node(self) -> Node:
        return self.nodes[-1]

    @property
    def parameter_count(self) -> int:
        return sum(one.numel() for one in self.learned)

    @property
    def arguments(self) -> list[Any]:
        """What its operator takes beside the picture's numbers; None what is not known beforehand."""
        return [constant(value) for value in self.node.inputs()]


def read_layers(graph: Any) -> list[Layer]:
    """List what computes a tensor out of the picture, in order, scalings in a row as one."""
    reader = Reader(graph)
    for node in graph.nodes():
        reader.take(node)
    return reader.layers


class Reader:
    """Goes through a graph's nodes, and remembers which values come from the picture."""

    def __init__(self, graph: Any) -> None:
        self.layers: list[Layer] = []
        picture = list(graph.inputs())[1]
        self.sources = {picture.debugName(): [INPUT_NAME]}  # value -> the layers it comes from
        self.uses = Counter(value.debugName() for node in graph.nodes() for value in inputs_of(node))
        self.paths = paths(graph)
        self.names: Counter[str] = Counter((INPUT_NAME, SOFTMAX_NAME))

    def take(self, node: Node) -> None:
        """Make a layer of a node, or a part of the last one, or nothing."""
        moving = [value.debugName() for value in inputs_of(node) if value.debugName() in self.sources]
        outputs = list(node.outputs())
        if not moving or len(outputs) != 1:
            return
        output, sources = outputs[0], [name for one in moving for name in self.sources[one]]
        if node.kind() == "prim::ListConstruct":  # what a concatenation gets
            self.sources[output.debugName()] = sources
        elif isinstance(output.type(), torch._C.TensorType):
            places = [i for i, value in enumerate(node.inputs()) if value.debugName() in self.sources]
            kind = kind_of(node, places)
            if kind == SCALING and self.continues(moving[0]):
                self.layers[-1].nodes.append(node)
            else:
                self.layers.append(Layer(self.name(node, kind), kind, sources, [node], learned(node)))
            self.sources[output.debugName()] = [self.layers[-1].name]

    def continues(self, value: str) -> bool:
        """Whether a value is the last layer's, a scaling, and nothing else takes it."""
        if not self.layers or self.layers[-1].kind != SCALING:
            return False
        return self.layers[-1].node.output().debugName() == value and self.uses[value] == 1

    def name(self, node: Node, kind: Kind) -> str:
        """Name a layer as the network's author did, where its weight tells, or by kind and number."""
        name = self.paths.get(weight_name(node), "")
        if name and self.names[name]:  # one layer used twice
            name = f"{name}-{self.names[name] + 1}"
        while not name or self.names[name]:
            self.names[kind.stem + "#"] += 1
            name = f"{kind.stem}{self.names[kind.stem + '#']}"
        self.names[name] += 1
        return name


def inputs_of(node: Node) -> Iterator[Value]:
    """Give a node's inputs, and those of what is in its branches."""
    yield from node.inputs()
    for block in node.blocks():
        for inner in block.nodes():
            yield from inputs_of(inner)


def learned(node: Node) -> list[Tensor]:
    """Give a node's weight and bias, float32."""
    inputs = list(node.inputs())
    values = [constant(inputs[place]) for place in LEARNED.get(operator(node), ())]
    return [value.detach().float() for value in values if isinstance(value, Tensor)]


def weight_name(node: Node) -> str:
    """Give the graph's name of a node's weight, `self.network.conv1.weight`; nothing where it has none."""
    places = LEARNED.get(operator(node))
    if not places:
        return ""
    value = list(node.inputs())[places[0]]
    if value.node().kind() == "aten::to":
        value = next(value.node().inputs())
    return str(value.debugName())


def paths(graph: Any) -> dict[str, str]:
    """Map the weights' names to their layers': what all have in common, `self.network`, is left out."""
    names = {weight_name(node) for node in graph.nodes()}
    paths = {name: name.split(".")[1:-1] for name in names if name.startswith("self.")}
    while paths and all(len(path) > 1 for path in paths.values()):
        if len({path[0] for path in paths.values()}) > 1:
            break
        paths = {name: path[1:] for name, path in paths.items()}
    return {name: ".".join(path) for name, path in paths.items() if path}
