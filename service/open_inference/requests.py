"""Read an inference request: which pictures, which output, in which form."""

from typing import Any, NamedTuple

from pydantic import ValidationError

from service.errors import InvalidRequest
from service.open_inference.bodies import Body
from service.open_inference.schemas import INPUT, OUTPUT, InferenceRequest
from service.open_inference.tensors import Pictures, read_binary, read_data, read_pixels, read_shape, shown
from service.problems import from_pydantic


class Wanted(NamedTuple):
    """In which form the output is wanted."""

    classification: int = 0  # so many classes as "value:index:label"; 0: the probabilities
    binary: bool = False


class Call(NamedTuple):
    """A request, read."""

    id: str | None
    pictures: Pictures
    wanted: Wanted


def read_call(body: Body, shape: tuple[int, int, int]) -> Call:
    """Read a request to a model that takes pictures of `shape`, C×S×S. Raises InvalidRequest."""
    if body.is_raw:
        return Call(None, read_pixels(body.binary, shape), Wanted(binary=True))
    try:
        request = InferenceRequest.model_validate(body.header)
    except ValidationError as error:
        raise from_pydantic(error.errors()[:8]) from None
    names = [one.name for one in request.inputs]
    if names != [INPUT]:
        raise InvalidRequest(
            f"inputs has to be one tensor named {INPUT!r}; got {shown(names)}", field="inputs"
        )
    wanted = read_wanted(request)
    tensor = request.inputs[0]
    form = read_shape(tensor, shape)
    size = parameters_of(tensor.parameters, "inputs[0].parameters").get("binary_data_size")
    if size is None:
        return Call(request.id, read_data(tensor.data, body, form), wanted)
    return Call(request.id, read_binary(size, tensor.data, body, form), wanted)


def read_wanted(request: InferenceRequest) -> Wanted:
    """Read in which form the one output is wanted."""
    binary = flag(parameters_of(request.parameters, "parameters"), "binary_data_output", "parameters")
    if not request.outputs:
        return Wanted(binary=binary)
    names = [one.name for one in request.outputs]
    if names != [OUTPUT]:
        raise InvalidRequest(
            f"outputs may be one tensor named {OUTPUT!r}; got {shown(names)}", field="outputs"
        )
    place = "outputs[0].parameters"
    parameters = parameters_of(request.outputs[0].parameters, place)
    count = parameters.get("classification", 0)
    if type(count) is not int or count < 0:
        raise InvalidRequest(
            f"{place}.classification is {shown(count)}; it is how many classes, 1 or more", field=place
        )
    return Wanted(count, flag(parameters, "binary_data", place, binary))


def parameters_of(given: dict[str, Any] | None, place: str) -> dict[str, Any]:
    """Give parameters. Raises InvalidRequest for memory shared between processes, which is not served."""
    for name in given or ():
        if name.startswith("shared_memory"):
            raise InvalidRequest(
                f"{place}: shared memory is not supported; send the tensor in the request", field=place
            )
    return given or {}


def flag(parameters: dict[str, Any], name: str, place: str, default: bool = False) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise InvalidRequest(f"{place}.{name} is {shown(value)}; it is true or false", field=place)
    return value
