"""Read a frozen graph as the layers of a lesson: convolution, ReLU, max pooling, flatten, fully connected."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from service.insight.kinds import (
    SCALING,
    TRACED_CONVOLUTION,
    Kind,
    Node,
    TensorType,
    Value,
    constant,
    kind_of,
    leaves_unchanged,
    operator,
)

INPUT_NAME, SOFTMAX_NAME = "input", "softmax"  # before the first layer, after the last
# Which inputs of an operator are learned numbers.
LEARNED = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), (1, 2)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), (1, 2)),
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
    value: Value = field(repr=False)  # in the graph: what comes out
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
        given = [constant(value) for value in self.node.inputs()]
        if self.node.kind().endswith(TRACED_CONVOLUTION):
            given[6] = given[8]  # the groups
        return given


def read_layers(graph: Any) -> tuple[list[Layer], str]:
    """List what computes a tensor out of the picture, in order, scalings in a row as one.

    Also gives the name of the layer the logits come from; no name where they come from none.
    """
    reader = Reader(graph)
    for node in graph.nodes():
        reader.take(node)
    last = reader.sources.get(next(graph.outputs()).debugName(), [""])
    return reader.layers, last[-1]


class Reader:
    """Goes through a graph's nodes, and remembers which values come from the picture."""

    def __init__(self, graph: Any) -> None:
        self.layers: list[Layer] = []
        picture = list(graph.inputs())[1]
        self.sources = {picture.debugName(): [INPUT_NAME]}  # value -> the layers it comes from
        self.uses = Counter(value.debugName() for node in graph.nodes() for value in inputs_of(node))
        self.uses.update(value.debugName() for value in graph.outputs())
        self.paths = paths(graph)
        self.names = {INPUT_NAME, SOFTMAX_NAME}
        self.numbers: Counter[str] = Counter()  # the last of each stem

    def take(self, node: Node) -> None:
        """Make a layer of each tensor that a node computes, or a part of the last layer, or nothing."""
        moving = [value.debugName() for value in inputs_of(node) if value.debugName() in self.sources]
        sources = [name for one in moving for name in self.sources[one]]
        sources = list(dict.fromkeys(sources)) if any(node.blocks()) else sources
        places = [i for i, value in enumerate(node.inputs()) if value.debugName() in self.sources]
        for output in node.outputs() if moving else ():
            name = output.debugName()
            if not isinstance(output.type(), TensorType):
                if "Tensor" in str(output.type()):  # a list: what a concatenation gets, or a split gives
                    self.sources[name] = sources
            elif (kind := kind_of(node, places)) == SCALING and self.continues(moving[0]):
                self.layers[-1].nodes.append(node)
                self.layers[-1].value = output
                self.sources[name] = [self.layers[-1].name]
            elif leaves_unchanged(node):
                self.sources[name] = sources
            elif self.uses[name] or node.outputsSize() == 1:
                layer = Layer(self.name(node, kind), kind, sources, [node], output, learned(node))
                self.layers.append(layer)
                self.sources[name] = [layer.name]

    def continues(self, value: str) -> bool:
        """Whether a value is the last layer's, a scaling, and nothing else takes it."""
        if not self.layers or self.layers[-1].kind != SCALING:
            return False
        return self.layers[-1].value.debugName() == value and self.uses[value] == 1

    def name(self, node: Node, kind: Kind) -> str:
        """Name a layer as the network's author did, where its weights tell, or by kind and number."""
        # Equal weights are one in the graph, under one's name: those that are nobody else's tell first.
        weights = sorted(weight_names(node), key=lambda weight: self.uses[weight])
        own = next((self.paths[weight] for weight in weights if weight in self.paths), "")
        name, times = own, 2
        while own and name in self.names:  # one layer used twice
            name, times = f"{own}-{times}", times + 1
        while not own and (not name or name in self.names or name in self.paths.values()):
            self.numbers[kind.stem] += 1
            name = f"{kind.stem}{self.numbers[kind.stem]}"
        self.names.add(name)
        return name


def inputs_of(node: Node) -> Iterator[Value]:
    """Give a node's inputs, and those of what is in its branches, and what these give on."""
    yield from node.inputs()
    for block in node.blocks():
        yield from block.outputs()
        for inner in block.nodes():
            yield from inputs_of(inner)


def learned(node: Node) -> list[Tensor]:
    """Give a node's weight and bias, float32."""
    inputs = list(node.inputs())
    values = [constant(inputs[place]) for place in LEARNED.get(operator(node), ())]
    return [value.detach().float() for value in values if isinstance(value, Tensor)]


def weight_names(node: Node) -> Iterator[str]:
    """Give the graph's names of a node's weight and bias, `self.network.conv1.weight`.

    Also those of the mean and the variance of a batch normalisation, which are not learned.
    """
    name, inputs = operator(node), list(node.inputs())
    for place in (1, 2, 3, 4) if name == "batch_norm" else LEARNED.get(name, ()):
        value = inputs[place]
        if value.node().kind() == "aten::to":
            value = next(value.node().inputs())
        if isinstance(constant(value), Tensor):
            yield value.debugName()


def paths(graph: Any) -> dict[str, str]:
    """Map the weights' names to their layers': what all have in common, `self.network`, is left out."""
    names = {name for node in graph.nodes() for name in weight_names(node)}
    paths = {name: name.split(".")[1:-1] for name in names if name.startswith("self.")}
    while paths and all(len(path) > 1 for path in paths.values()):
        if len({path[0] for path in paths.values()}) > 1:
            break
        paths = {name: path[1:] for name, path in paths.items()}
    return {name: ".".join(path) for name, path in paths.items() if path}
