"""What an operator of a graph is called in a lesson on convolutional networks."""

from typing import Any, NamedTuple

from torch import Tensor

Node = Any  # torch._C.Node
Value = Any  # torch._C.Value

HEIGHT_AND_WIDTH = ([2, 3], [-2, -1], [-1, -2])


class Kind(NamedTuple):
    """What a layer is: a word for programs, a title for people, and the stem of its name."""

    word: str
    title: str
    stem: str


CONVOLUTION = Kind("convolution", "convolution", "conv")
MAX_POOLING = Kind("pooling", "max pooling", "pool")
AVERAGE_POOLING = Kind("pooling", "average pooling", "pool")
GLOBAL_MAX = MAX_POOLING._replace(title="global max pooling")
GLOBAL_AVERAGE = AVERAGE_POOLING._replace(title="global average pooling")
FLATTEN = Kind("flatten", "flatten", "flatten")
FULLY_CONNECTED = Kind("fully-connected", "fully connected", "fc")
SUM = Kind("sum", "sum", "sum")
PRODUCT = Kind("product", "product", "product")
SCALING = Kind("scaling", "scaling", "scale")
INPUT = Kind("input", "prepared picture", "input")
SOFTMAX = Kind("softmax", "softmax", "softmax")

ACTIVATIONS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "elu": "ELU",
    "selu": "SELU",
    "leaky_relu": "leaky ReLU",
    "prelu": "PReLU",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "hardtanh": "hard tanh",
    "hardswish": "hard swish",
    "hardsigmoid": "hard sigmoid",
    "softplus": "softplus",
}
NAMED = {
    **dict.fromkeys(("flatten", "view", "reshape"), FLATTEN),
    "linear": FULLY_CONNECTED,
    "max_pool2d": MAX_POOLING,
    "avg_pool2d": AVERAGE_POOLING,
    "adaptive_max_pool2d": MAX_POOLING,
    "adaptive_avg_pool2d": AVERAGE_POOLING,
    "batch_norm": Kind("normalisation", "batch normalisation", "norm"),
    "group_norm": Kind("normalisation", "group normalisation", "norm"),
    "layer_norm": Kind("normalisation", "layer normalisation", "norm"),
    "instance_norm": Kind("normalisation", "instance normalisation", "norm"),
    "cat": Kind("concatenation", "concatenation", "cat"),
    "softmax": SOFTMAX,
}
# Numbers come out as they went in, or each by the same factor and shift.
POINTWISE = {
    *("to", "contiguous", "detach", "dropout", "feature_dropout", "alias", "clone"),
    *("add", "sub", "rsub", "mul", "div"),
}


def constant(value: Value) -> Any:
    """Give a value that is known beforehand, a weight's conversion of type included; else None."""
    if value.node().kind() == "aten::to":
        value = next(value.node().inputs())
    return value.toIValue() if value.node().kind() == "prim::Constant" else None


def operator(node: Node) -> str:
    """Give an operator's name without its home, `conv2d` for `aten::conv2d`."""
    return str(node.kind()).rpartition("::")[2]


def kind_of(node: Node, moving: list[int]) -> Kind:
    """Say what a node is; `moving` are the places of those inputs that depend on the picture."""
    name, inputs = operator(node), list(node.inputs())
    others = [constant(value) for place, value in enumerate(inputs) if place not in moving]
    kind = NAMED.get(name)
    if name == "conv2d" and isinstance(constant(inputs[1]), Tensor):
        kind = CONVOLUTION
    elif name in {"amax", "mean"} and constant(inputs[1]) in HEIGHT_AND_WIDTH:
        kind = GLOBAL_MAX if name == "amax" else GLOBAL_AVERAGE
    elif name in ACTIVATIONS:
        kind = Kind("activation", ACTIVATIONS[name], name.replace("_", ""))
    elif name in {"add", "mul"} and len(moving) > 1:
        kind = SUM if name == "add" else PRODUCT
    elif name in POINTWISE and not any(isinstance(one, Tensor) and one.numel() > 1 for one in others):
        kind = SCALING
    return kind or Kind("other", name.replace("_", " "), name.replace("_", "-"))
