"""The bodies of answers about matrices: for the documentation, as orjson writes them without these."""

from typing import Annotated

from pydantic import BaseModel, Field

Matrix = list[list[float]]
Matrix3 = list[list[list[float]]]

SHOWN = Field(description="Only in steps of an output that has channels.")


class AxisSize(BaseModel):
    """One axis of the size formula; letters count cells. `d`, the dilation, is there where it is not 1."""

    # No field `d`: openapi-python-client has a variable of that name, and could read no field after it.

    n: Annotated[int, Field(description="The image's size.", examples=[6])]
    p: Annotated[
        float,
        Field(description="Padding a side; a half where the two sides differ by one.", examples=[0]),
    ]
    f: Annotated[int, Field(description="The filter's size.", examples=[3])]
    s: Annotated[int, Field(description="The stride.", examples=[1])]
    result: Annotated[int, Field(description="The output's size.", examples=[4])]
    before: Annotated[int, Field(description="Padding above or left, where the sides differ.")] = 0
    after: Annotated[int, Field(description="Padding below or right, where the sides differ.")] = 0


class OutputSize(BaseModel):
    """Why the output has the size it has."""

    formula: Annotated[str, Field(examples=["floor((n + 2p - f) / s) + 1"])]
    height: AxisSize
    width: AxisSize


class ConvolutionStep(BaseModel):
    """How one output cell came about."""

    row: int
    column: int
    channel: Annotated[int, SHOWN] = 0
    window: Annotated[Matrix | Matrix3, Field(description="What the filter covered, padding included.")]
    products: Annotated[Matrix | Matrix3, Field(description="The window times the filter, cell by cell.")]
    sum: Annotated[float, Field(description="Of the products, before bias and activation.")]


class PoolingStep(BaseModel):
    """How one output cell came about."""

    row: int
    column: int
    channel: Annotated[int, SHOWN] = 0
    window: Annotated[list[list[float | None]], Field(description="null: padding, which never wins.")]
    result: float


class Answer(BaseModel):
    """A matrix, and why it has the size it has."""

    output: Annotated[
        Matrix | Matrix3,
        Field(description="h×w, or with channels h×w×K or K×h×w. Integers where nothing was rounded."),
    ]
    shape: Annotated[list[int], Field(examples=[[4, 4]])]
    size: OutputSize


class Convolved(Answer):
    """The answer of `/convolve`."""

    steps: Annotated[list[ConvolutionStep], Field(description="With `steps=true`: one an output cell.")] = []


class Pooled(Answer):
    """The answer of `/pool`."""

    steps: Annotated[list[PoolingStep], Field(description="With `steps=true`: one an output cell.")] = []


class NamedFilter(BaseModel):
    """A filter with a name."""

    name: Annotated[str, Field(examples=["vertical-edge"])]
    matrix: Annotated[list[list[int | float]], Field(examples=[[[1, 0, -1], [1, 0, -1], [1, 0, -1]]])]
    finds: Annotated[str, Field(examples=["vertical edges, bright left of dark positive"])]


class NamedFilters(BaseModel):
    """The catalogue."""

    filters: list[NamedFilter]
