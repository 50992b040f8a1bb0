"""Rewrite a frozen graph so that its convolutions find their weights laid out as the processor wants them.

TorchScript hands oneDNN plain weights, which it lays out anew in every call: 2 of the 3 ms of a single
picture. Laid out once, they also let convolutions run in bfloat16, where the processor multiplies it, with
what stands between them, so that numbers are converted at the two ends only. The operators are
torch's own (its compiler's backend uses them), but not public: the caller compares the results, and keeps the
plain graph where anything is amiss.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

# What computes in whatever precision its inputs have, and loses nothing that a convolution would not.
INDIFFERENT = {
    *("aten::gelu", "aten::relu", "aten::relu_", "aten::silu", "aten::hardtanh", "aten::leaky_relu"),
    *("aten::max_pool2d", "aten::amax", "aten::add", "aten::add_", "aten::flatten"),
}
Node = Any  # torch._C.Node
Value = Any  # torch._C.Value


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for products of bfloat16."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def prepack(graph: Any, example: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor] | None:
    """Give the graph's function with its convolutions prepacked; None where it has none that can be.

    `graph` is a frozen module's, of one input beside the module itself; `example` is such an input.
    """
    rewritten = graph.copy()
    found = list(convolutions(rewritten))
    if not found:
        return None
    for node, size in zip(found, input_sizes(graph, example), strict=True):
        replace(rewritten, node, size, dtype)
    if dtype != torch.float32:
        convert_at_the_ends(rewritten, dtype)
    torch._C._jit_pass_lint(rewritten)
    rewritten.eraseInput(0)  # the module, whose weights are constants by now
    function: Callable[[Tensor], Tensor] = torch._C._create_function_from_graph("forward", rewritten)
    return function


def convolutions(graph: Any) -> Iterator[Node]:
    """Find the plain two-dimensional convolutions whose every parameter is known."""
    for node in graph.nodes():
        if node.kind() == "aten::conv2d":
            _, weight, *others = node.inputs()
            constants = [constant(value) for value in (weight, *others)]
            # Padding may be a word, "same", and a bias none.
            if isinstance(constants[0], Tensor) and isinstance(constants[3], list):
                yield node


def constant(value: Value) -> Any:
    """Give a value that is known beforehand, a weight's conversion to float32 included; else None."""
    if value.node().kind() == "aten::to":
        value = next(value.node().inputs())
    return value.toIValue() if value.node().kind() == "prim::Constant" else None


def input_sizes(graph: Any, example: Tensor) -> list[list[int]]:
    """Run the graph up to its convolutions: the shape of what each gets.

    Of the wrong height and width, the layout would be another one, and every call would fall back to
    code that takes a hundred times as long.
    """
    probe = graph.copy()
    for _ in list(probe.outputs()):
        probe.eraseOutput(0)
    met = probe.create("prim::TupleConstruct", [next(node.inputs()) for node in convolutions(probe)], 1)
    met.output().setType(torch._C.TupleType([torch._C.TensorType.get()] * met.inputsSize()))
    probe.appendNode(met)
    probe.registerOutput(met.output())
    probe.eraseInput(0)
    seen = torch._C._create_function_from_graph("probe", probe)(example)
    return [list(one.shape) for one in seen]


def replace(graph: Any, node: Node, size: list[int], dtype: torch.dtype) -> None:
    """Put the operator that takes prepacked weights in a convolution's place."""
    pixels, weight, bias, stride, padding, dilation, groups = node.inputs()
    taps, shift = constant(weight).to(dtype), constant(bias)
    layout = [constant(value) for value in (padding, stride, dilation, groups)]
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        taps.contiguous(memory_format=torch.channels_last), *layout, size
    )
    graph.setInsertPoint(node)
    held = graph.create("prim::Constant", [], 1)
    held.t_("value", packed)  # `insertConstant` takes no tensor of an opaque layout
    held.output().setType(torch._C.TensorType.get())
    held.insertBefore(node)
    none = graph.create("prim::ListConstruct", [], 1)
    none.output().setType(torch._C.ListType(torch._C.OptionalType(torch._C.NumberType.get())))
    none.insertBefore(node)
    shift_value = graph.insertConstant(None if shift is None else shift.to(dtype))
    words = (graph.insertConstant("none"), none.output(), graph.insertConstant(""))
    inputs = [pixels, held.output(), shift_value, padding, stride, dilation, groups, *words]
    new = graph.create("mkldnn::_convolution_pointwise", inputs, 1)
    new.insertBefore(node)
    new.output().setType(node.output().type())
    node.output().replaceAllUsesWith(new.output())
    node.destroy()


def convert_at_the_ends(graph: Any, dtype: torch.dtype) -> None:
    """Have convolutions, and what is between them, compute in `dtype`, all else in float32."""
    converted: set[str] = set()  # names of values in `dtype`
    for node in list(graph.nodes()):
        tensors = [
            (i, one) for i, one in enumerate(node.inputs()) if isinstance(one.type(), torch._C.TensorType)
        ]
        names = {one.debugName() for _, one in tensors}
        if node.kind() == "mkldnn::_convolution_pointwise":
            if next(node.inputs()).debugName() not in converted:
                convert(graph, node, 0, dtype)
            converted.add(node.output().debugName())
        elif node.kind() in INDIFFERENT and names and names <= converted:
            converted.add(node.output().debugName())
        else:
            for index, one in tensors:
                if one.debugName() in converted:
                    convert(graph, node, index, torch.float32)
    for index, output in enumerate(list(graph.outputs())):
        if output.debugName() in converted:
            convert(graph, graph.return_node(), index, torch.float32)


def convert(graph: Any, node: Node, index: int, dtype: torch.dtype) -> None:
    """Convert one input of a node."""
    value = list(node.inputs())[index]
    graph.setInsertPoint(node)
    no, nothing = graph.insertConstant(False), graph.insertConstant(None)
    to = graph.create("aten::to", [value, graph.insertConstant(dtype), no, no, nothing], 1)
    to.insertBefore(node)
    to.output().setType(value.type())
    node.replaceInput(index, to.output())
