"""The bodies of answers about a network's inside: for the documentation, as orjson writes them."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from service.matrices.schemas import OutputSize


class Of(BaseModel):
    """The model that answered."""

    model: Annotated[str, Field(examples=["cifar10-lenet"])]
    version: Annotated[str, Field(examples=["1.0.0"])]


class Prepared(BaseModel):
    """The picture as the network gets it."""

    name: Annotated[str, Field(examples=["input"])]
    kind: Annotated[str, Field(examples=["input"])]
    title: Annotated[str, Field(examples=["prepared picture"])]
    output_shape: Annotated[list[int], Field(examples=[[3, 32, 32]])]
    png: Annotated[str, Field(description="base64")]


class FeatureMaps(BaseModel):
    """Maps side by side, each `height`×`width` pixels."""

    count: Annotated[int, Field(le=64)]
    height: Annotated[int, Field(le=64)]
    width: Annotated[int, Field(le=64)]
    png: Annotated[str, Field(description="8-bit grey in base64: 0 is the layer's minimum, 255 its maximum")]


class Layer(BaseModel):
    """One step of the way."""

    name: Annotated[str, Field(examples=["conv1"])]
    kind: Annotated[
        str,
        Field(
            examples=["convolution"],
            description="`convolution`, `pooling`, `activation`, `normalisation`, `flatten`,"
            " `fully-connected`, `sum`, `product`, `concatenation`, `scaling`, `softmax` or `other`",
        ),
    ]
    title: Annotated[str, Field(examples=["convolution"], description="in words: `ReLU`, `max pooling`")]
    inputs: Annotated[list[str], Field(examples=[["scale1"]], description="the layers it takes numbers from")]
    parameters: Annotated[
        dict[str, Any], Field(examples=[{"filter": [5, 5], "stride": [1, 1], "padding": [0, 0]}])
    ]
    parameter_count: Annotated[int, Field(examples=[456], description="learned numbers")]
    output_shape: Annotated[list[int], Field(examples=[[6, 28, 28]])]
    size: Annotated[OutputSize | None, Field(description="where a window slides")] = None
    minimum: float
    maximum: float
    maps: Annotated[FeatureMaps | None, Field(description="of an output with height and width")] = None
    numbers: Annotated[list[float] | None, Field(description="of a vector: the first 4,096")] = None


class Layers(Of):
    """The picture's way through the network."""

    input: Prepared
    layers: list[Layer]


class WindowPlace(BaseModel):
    """Where on its input a window lies; negative where that is padding."""

    channel: int
    top: int
    left: int
    height: int = 1
    width: int = 1


class Cell(Of):
    """One number of a layer's output, and what it was computed from."""

    layer: Annotated[str, Field(examples=["conv1"])]
    kind: str
    title: str
    inputs: list[str]
    channel: int
    row: int
    column: int
    value: float
    window: Annotated[list[Any], Field(description="the numbers looked at; null: padding")]
    filter: Annotated[list[Any] | None, Field(description="the weights, in the window's shape")] = None
    sums: Annotated[list[float] | None, Field(description="of the products, one a channel")] = None
    sum: Annotated[float | None, Field(description="of all products, before the bias")] = None
    bias: float | None = None
    place: WindowPlace | None = None


class Heat(Of):
    """What speaks for a class, pixel by pixel of the prepared picture."""

    method: str
    label: Annotated[str, Field(examples=["cat"])]
    index: int
    probability: float
    layer: Annotated[str | None, Field(description="whose maps were weighed")] = None
    shape: Annotated[list[int], Field(examples=[[32, 32]])]
    minimum: float
    maximum: float
    heat: list[list[float]]
