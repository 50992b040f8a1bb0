"""The bodies of requests and answers under /v2, as the protocol has them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

INPUT, INPUT_TYPE = "images", "UINT8"
OUTPUT, OUTPUT_TYPE = "probabilities", "FP32"

Parameters = Annotated[
    dict[StrictStr, Any] | None, Field(description="by name; what is not known here is ignored")
]


class Known(BaseModel):
    """What is read of a request; a later protocol's fields are passed over."""

    model_config = ConfigDict(extra="ignore")


class RequestInput(Known):
    """One input tensor: its numbers in `data`, or after the JSON where `binary_data_size` says so."""

    name: Annotated[StrictStr, Field(examples=[INPUT])]
    shape: Annotated[list[StrictInt], Field(examples=[[1, 3, 32, 32]])]
    datatype: Annotated[StrictStr, Field(examples=[INPUT_TYPE])]
    parameters: Parameters = None
    data: Annotated[Any, Field(description="numbers, flat or nested as `shape` is")] = None


class RequestOutput(Known):
    """One output asked for."""

    name: Annotated[StrictStr, Field(examples=[OUTPUT])]
    parameters: Parameters = None


class InferenceRequest(Known):
    """Tensors in, and which are wanted back."""

    id: StrictStr | None = None
    parameters: Parameters = None
    inputs: list[RequestInput]
    outputs: Annotated[list[RequestOutput] | None, Field(description="default: all")] = None


class ServerMetadata(BaseModel):
    """What the server is, and what it knows beyond the protocol."""

    name: Annotated[str, Field(examples=["stride"])]
    version: str
    extensions: Annotated[list[str], Field(examples=[["binary_tensor_data", "classification"]])]


class ServerLive(BaseModel):
    """Whether the server answers."""

    live: bool = True


class ServerReady(ServerLive):
    """Whether every model may be asked."""

    ready: bool = True


class ModelReady(BaseModel):
    """Whether a model may be asked."""

    name: Annotated[str, Field(examples=["cifar10-resnet"])]
    ready: bool = True


class TensorMetadata(BaseModel):
    """A tensor a model takes or gives; -1 is any length."""

    name: Annotated[str, Field(examples=[INPUT])]
    datatype: Annotated[str, Field(examples=[INPUT_TYPE])]
    shape: Annotated[list[int], Field(examples=[[-1, 3, 32, 32]])]


class ModelMetadata(BaseModel):
    """A model's tensors."""

    name: Annotated[str, Field(examples=["cifar10-resnet"])]
    versions: Annotated[list[str], Field(examples=[["1.0.0"]])]
    platform: Annotated[str, Field(examples=["pytorch_torchscript"])] = "pytorch_torchscript"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ResponseOutput(BaseModel):
    """An output: its numbers in `data`, or after the JSON where `binary_data_size` says so."""

    name: Annotated[str, Field(examples=[OUTPUT])]
    datatype: Annotated[str, Field(examples=[OUTPUT_TYPE])]
    shape: Annotated[list[int], Field(examples=[[1, 10]])]
    parameters: dict[str, Any] | None = None
    data: list[float | str] | None = None


class InferenceResponse(BaseModel):
    """Tensors out."""

    model_name: Annotated[str, Field(examples=["cifar10-resnet"])]
    model_version: Annotated[str, Field(examples=["1.0.0"])]
    id: str | None = None
    outputs: list[ResponseOutput]


def describe_tensors(name: str, version: str, shape: tuple[int, int, int], classes: int) -> ModelMetadata:
    """Describe a model that takes pictures of `shape`, C×S×S."""
    return ModelMetadata(
        name=name,
        versions=[version],
        inputs=[TensorMetadata(name=INPUT, datatype=INPUT_TYPE, shape=[-1, *shape])],
        outputs=[TensorMetadata(name=OUTPUT, datatype=OUTPUT_TYPE, shape=[-1, classes])],
    )
