"""What `/convolve` and `/pool` may be asked: their fields, and the convolution or pooling they mean."""

from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError
from pydantic_core import ErrorDetails

from service.arithmetic.convolution import Convolution
from service.arithmetic.pooling import Pooling
from service.arithmetic.steps import Layout
from service.arithmetic.windows import Array, PaddingMode
from service.errors import FieldError, InvalidRequest
from service.matrices.fields import Bias, Cells, Filters, Image, Number, OneFilter, Pairs
from service.matrices.numbers import brief

Body = TypeVar("Body", bound="MatrixBody")
# An answer stays short whatever is sent.
MOST_ERRORS = 4
MOST_NAME = 32  # characters

LayoutField = Annotated[Layout, Field(description="Axes of what has three: `HWC` (channels last) or `CHW`.")]


class MatrixBody(BaseModel):
    """Fields are exactly these: a typing error is an error, not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ConvolutionFields(MatrixBody):
    """Everything about a convolution but its image."""

    filter: OneFilter = Field(
        None,
        description="F×F numbers, any rectangle, applied to every channel and summed; for an image of C"
        " channels also F×F×C (C×F×F with `CHW`); or a name from `GET /filters`.",
    )
    filters: Filters = Field(
        None,
        description="Instead of `filter`: several of one size. The output has one channel a filter.",
    )
    layout: LayoutField = "HWC"
    padding: Cells = Field(
        "valid",
        description="`valid`: none. `same`: an output of ⌈n / s⌉, the odd cell at the bottom and right,"
        " flipped or not. `full`: every overlap. Or cells: an integer, `[vertical, horizontal]` or"
        " `[top, bottom, left, right]`.",
    )
    padding_mode: PaddingMode = Field(
        "zeros",
        description="What padding holds: `zeros`; `constant`, which is `value`; `reflect` (edge not"
        " repeated); `symmetric` (edge repeated); `replicate`; `circular`.",
    )
    value: Number | None = Field(
        None, description="With `padding_mode` `constant` only: the number to pad with, default 0."
    )
    stride: Pairs = Field((1, 1), description="Cells from window to window.")
    dilation: Pairs = Field((1, 1), description="Cells from tap to tap of the filter.")
    flip: StrictBool = Field(
        False,
        description="`false`: cross-correlation, which deep learning calls convolution. `true`: the"
        " filter turned by half a turn, the mathematician's convolution.",
    )
    bias: Bias = Field(0.0, description="Added to the sums: a number, or a list of one a filter.")
    activation: Literal["relu"] | None = Field(None, description="`relu`: negative results become 0.")
    per_channel: StrictBool = Field(
        False,
        description="Keep channels apart (depthwise): the same filter on each, or each channel's own"
        " where the filter has channels. The output has a channel for each and every filter.",
    )

    def convolution(self, channels: int) -> Convolution:
        """These fields, for an image of so many channels. Raises InvalidRequest where they clash."""
        if self.value is not None and self.padding_mode != "constant":
            raise InvalidRequest(
                f'value is given but padding_mode is "{self.padding_mode}", not "constant"',
                field="value",
            )
        filters = self._stacked(channels)
        if isinstance(self.bias, tuple) and len(self.bias) != len(filters):
            raise InvalidRequest(
                f"bias has {len(self.bias)} numbers for {len(filters)} filters", field="bias"
            )
        return Convolution(
            filters=filters,
            padding=self.padding,
            padding_mode=self.padding_mode,
            value=self.value or 0.0,
            stride=self.stride,
            dilation=self.dilation,
            flip=self.flip,
            bias=self.bias,
            activation=self.activation,
            per_channel=self.per_channel,
        )

    @property
    def filter_field(self) -> str:
        return "filter" if self.filters is None else "filters"

    def _stacked(self, channels: int) -> Array:
        """One filter or several as float64 K×C×fh×fw, or flat ones as K×1×fh×fw."""
        if self.filter is not None and self.filters is None:
            filters = self.filter[np.newaxis]
        elif self.filters is not None and self.filter is None:
            filters = self.filters
        else:
            clash = "there is neither" if self.filter is None else "not both"
            raise InvalidRequest(f"give filter or filters: {clash}", field="filter")
        if filters.ndim == 3:
            return filters[:, np.newaxis]
        if self.layout == "HWC":
            filters = np.moveaxis(filters, -1, 1)
        if filters.shape[1] != channels:
            raise InvalidRequest(
                f"{self.filter_field} has {filters.shape[1]} channels in layout {self.layout}"
                f" but the image has {channels}",
                field=self.filter_field,
            )
        return filters


class ImageFields(MatrixBody):
    """An image and the meaning of its axes."""

    image: Image = Field(description="H×W numbers, H×W×C, or C×H×W with `layout` `CHW`.")
    layout: LayoutField = "HWC"

    @property
    def channels_first(self) -> Array:
        """The image as float64 C×H×W, one channel where it has no such axis."""
        if self.image.ndim == 2:
            return self.image[np.newaxis]
        if self.layout == "HWC":
            return np.ascontiguousarray(np.moveaxis(self.image, -1, 0))
        return self.image

    @property
    def image_layout(self) -> Layout | None:
        """None for an image that has no axis of channels."""
        return None if self.image.ndim == 2 else self.layout


class ConvolveRequest(ConvolutionFields, ImageFields):
    """Convolve `image` with `filter`, or with each of `filters`."""


class ConvolvePictureRequest(ConvolutionFields):
    """Convolve a picture; everything but the picture itself."""

    per_channel: StrictBool = Field(
        True,
        description="`true`, the default here: red, green and blue apart, as image editors do."
        " `false`: summed into one grey picture.",
    )
    normalize: Literal["clip", "abs", "minmax"] = Field(
        "clip",
        description="How results become 0 to 255: `clip` cuts off, `abs` drops signs and cuts off,"
        " `minmax` stretches the least to 0 and the most to 255.",
    )


class PoolRequest(ImageFields):
    """Reduce each window of `image` to one number."""

    size: Pairs = Field(description="The window: an integer or `[vertical, horizontal]`.")
    stride: Pairs | None = Field(None, description="Cells from window to window; default `size`.")
    padding: Cells = Field(
        "valid",
        description="As in `/convolve`, each side smaller than `size`. Padding never is the largest;"
        " in an average it counts as zeros.",
    )
    kind: Literal["max", "average"] = Field("max", description="What is kept of a window.")

    @property
    def pooling(self) -> Pooling:
        return Pooling(self.size, self.stride, self.padding, self.kind)


def read_fields(body: type[Body], values: object) -> Body:
    """Validate `values`, what a caller sent. Raises InvalidRequest that names each wrong field."""
    if not isinstance(values, dict):
        raise InvalidRequest("the body has to be a JSON object", field="body")
    if len(values) > len(body.model_fields):  # pydantic makes an error of each: a million took 4 s and 1 GB
        unknown = next(name for name in values if name not in body.model_fields)
        raise InvalidRequest(
            f"there are {len(values):,} fields; the limit is {len(body.model_fields)};"
            f" {_no_field(body, unknown)}",
            field="body",
        )
    try:
        return body.model_validate(values)
    except ValidationError as error:
        first = error.errors()[:MOST_ERRORS]
        errors = tuple(_describe(body, details, is_first=details is first[0]) for details in first)
        raise InvalidRequest("; ".join(e.detail for e in errors), errors=errors) from None


def _describe(body: type[MatrixBody], error: ErrorDetails, *, is_first: bool) -> FieldError:
    # No place: a name that is no text, a lone half of a surrogate pair.
    name = str(error["loc"][0])[:MOST_NAME] if error["loc"] else "body"
    match error["type"]:
        case "value_error":
            detail = str(error["ctx"]["error"])
        case "missing":
            detail = f"{name} is missing"
        case "extra_forbidden":
            detail = _no_field(body, name) if is_first else f"there is no field {name}"
        case _:
            detail = f"{name} is {brief(error['input'])}; {error['msg'][0].lower()}{error['msg'][1:]}"
    return FieldError(name, detail)


def _no_field(body: type[MatrixBody], name: str) -> str:
    fields = ", ".join(body.model_fields)
    # Escaped: the body may have been read by a parser that lets half a surrogate pair through.
    return f"there is no field {brief(name[:MOST_NAME])[1:-1]}; the fields are {fields}"
