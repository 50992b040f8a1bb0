"""What an operator of a graph is called in a lesson on convolutional networks."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

TensorType = torch._C.TensorType
Node = Any  # torch._C.Node
Value = Any  # torch._C.Value

TRACED_CONVOLUTION = "_convolution"  # of any number of axes, as torch.jit.trace has it
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
PART = Kind("other", "part", "part")  # of what a split or a chunk gives
RESHAPE = Kind("other", "reshape", "reshape")

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
    **dict.fromkeys(("view", "reshape"), RESHAPE),
    **dict.fromkeys(("ListUnpack", "TupleUnpack", "TupleIndex", "ConstantChunk", "__getitem__"), PART),
    "If": Kind("other", "branch", "branch"),
    "Loop": Kind("other", "loop", "loop"),
}
# Numbers come out as they went in, or each by the same factor and shift.
UNCHANGING = {"contiguous", "detach", "alias", "clone"}
DROPOUTS = {"dropout", "feature_dropout", "alpha_dropout"}  # nothing is dropped but in training
POINTWISE = UNCHANGING | {"to", "add", "sub", "rsub", "mul", "div"}


def constant(value: Value) -> Any:
    """Give a value that is known beforehand, a weight's conversion of type included; else None."""
    if value.node().kind() == "aten::to":
        value = next(value.node().inputs())
    return value.toIValue() if value.node().kind() == "prim::Constant" else None


def operator(node: Node) -> str:
    """Give an operator's name without its home, `conv2d` for `aten::conv2d` and as a traced one."""
    name = str(node.kind()).rpartition("::")[2]
    if name == TRACED_CONVOLUTION:
        weight, transposed = (constant(list(node.inputs())[place]) for place in (1, 6))
        plain = isinstance(weight, Tensor) and weight.dim() == 4 and not transposed
        return "conv2d" if plain else "convolution"
    return name if name.startswith("__") else name.removesuffix("_")  # `relu_` is relu in place


def leaves_unchanged(node: Node) -> bool:
    """Whether numbers come out as they went in."""
    name = operator(node)
    if name in DROPOUTS:
        return constant(list(node.inputs())[2]) is False
    return name in UNCHANGING


def flattens(node: Node) -> bool:
    """Whether a reshaping makes one row of numbers of each picture."""
    _, *inputs = node.inputs()
    if operator(node) == "flatten":
        return [constant(value) for value in inputs] == [1, -1]
    shape = constant(inputs[0])
    return (len(shape) if shape else len(list(inputs[0].node().inputs()))) == 2


def kind_of(node: Node, moving: list[int]) -> Kind:
    """Say what a node is; `moving` are the places of those inputs that depend on the picture."""
    name, inputs = operator(node), list(node.inputs())
    others = [value for place, value in enumerate(inputs) if place not in moving]
    kind = NAMED.get(name)
    if name == "conv2d" and isinstance(constant(inputs[1]), Tensor):
        kind = CONVOLUTION
    elif name in {"amax", "mean"} and constant(inputs[1]) in HEIGHT_AND_WIDTH:
        kind = GLOBAL_MAX if name == "amax" else GLOBAL_AVERAGE
    elif name.startswith("adaptive") and kind and constant(inputs[1]) == [1, 1]:
        kind = GLOBAL_MAX if kind == MAX_POOLING else GLOBAL_AVERAGE
    elif name in {"flatten", "view", "reshape"} and flattens(node):
        kind = FLATTEN
    elif name in ACTIVATIONS:
        kind = Kind("activation", ACTIVATIONS[name], name.replace("_", ""))
    elif name in {"add", "mul"} and len(moving) > 1:
        kind = SUM if name == "add" else PRODUCT
    elif leaves_unchanged(node) or (name in POINTWISE and not any(is_field(value) for value in others)):
        kind = SCALING
    return kind or Kind("other", name.replace("_", " "), name.replace("_", "-"))


def is_field(value: Value) -> bool:
    """Whether a value is a tensor of more than one number, or may be."""
    known = constant(value)
    if isinstance(known, Tensor):
        return known.numel() > 1
    return known is None and isinstance(value.type(), TensorType)
