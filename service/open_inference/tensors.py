"""Read the tensor of pictures: its type and shape, its numbers in the JSON or its bytes behind it."""

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.errors import InvalidRequest
from service.open_inference.bodies import LENGTH_HEADER, Body
from service.open_inference.numbers import Span, read_numbers
from service.open_inference.schemas import INPUT, INPUT_TYPE, RequestInput

Pictures = NDArray[np.uint8]  # N×C×S×S, 0..255
# At 8 ms a picture, a residual network's on one core, these take a third of the 30 seconds a request may.
MAX_PICTURES = 1024


def read_pixels(binary: memoryview, shape: tuple[int, int, int]) -> Pictures:
    """Read a body that is pixels alone (Inference-Header-Content-Length: 0). Raises InvalidRequest."""
    size = int(np.prod(shape))
    count, over = divmod(len(binary), size)
    if over or not 1 <= count <= MAX_PICTURES:
        raise InvalidRequest(
            f"the body is {len(binary):,} bytes; a picture is {size:,}, and 1 to {MAX_PICTURES:,} of them may"
            " be sent",
            field="body",
        )
    return np.frombuffer(binary, np.uint8).reshape(count, *shape)


def read_shape(tensor: RequestInput, shape: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Check type and shape. Gives N, C, S, S."""
    if tensor.datatype != INPUT_TYPE:
        raise InvalidRequest(
            f"inputs[0].datatype is {tensor.datatype[:40]!r}; {INPUT} is {INPUT_TYPE}",
            field="inputs[0].datatype",
        )
    given = tensor.shape
    if len(given) != 4 or tuple(given[1:]) != shape or given[0] < 1:
        raise InvalidRequest(
            f"inputs[0].shape is {shown(given)}; the model takes {[-1, *shape]}", field="inputs[0].shape"
        )
    if given[0] > MAX_PICTURES:
        raise InvalidRequest(
            f"inputs[0].shape says {given[0]:,} pictures; the limit is {MAX_PICTURES:,} a request",
            field="inputs[0].shape",
        )
    return given[0], *shape


def read_data(data: Any, body: Body, form: tuple[int, ...]) -> Pictures:
    """Read a tensor's numbers out of the JSON."""
    field = "inputs[0].data"
    if data is None:
        raise InvalidRequest(f"{field} is missing, and so is the parameter binary_data_size", field=field)
    if type(data) is not list and (data != body.placeholder or not body.placeholder):
        raise InvalidRequest(f"{field} has to be a list of numbers", field=field)
    if len(body.binary):
        raise InvalidRequest(
            f"{len(body.binary):,} bytes follow the JSON, but no input has the parameter binary_data_size",
            field=LENGTH_HEADER,
        )
    if type(data) is not list:
        return read_numbers(body.numbers, form, field)
    try:
        text = orjson.dumps(data)
    except TypeError:  # nested deeper than orjson writes
        raise InvalidRequest(
            f"{field} is nested too deep; the shape has {len(form)} axes", field=field
        ) from None
    return read_numbers(Span(text, 0, len(text)), form, field)


def read_binary(size: Any, data: Any, body: Body, form: tuple[int, ...]) -> Pictures:
    """Take a tensor's bytes from behind the JSON."""
    field = "inputs[0].parameters.binary_data_size"
    expected, there = int(np.prod(form)), len(body.binary)
    if data is not None:
        raise InvalidRequest("inputs[0] has both data and binary_data_size; send one", field="inputs[0].data")
    if type(size) is not int or size != expected:
        raise InvalidRequest(
            f"{field} is {shown(size)}; the shape {list(form)} takes {expected:,}", field=field
        )
    if there != size:
        raise InvalidRequest(
            f"{field} is {size:,}, but {there:,} bytes follow the JSON; {LENGTH_HEADER} says where it ends",
            field=field,
        )
    return np.frombuffer(body.binary, np.uint8).reshape(form)


def shown(value: object) -> str:
    """Give a value as JSON has it, cut short."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = "nested too deep"
    return text if len(text) <= 60 else f"{text[:60]}…"
