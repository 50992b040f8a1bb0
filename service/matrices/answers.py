"""Answer `/convolve` and `/pool`: read, check the cost, compute, write. Blocking: callers use a thread."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from service.arithmetic import convolution, pooling
from service.arithmetic.convolution import convolve
from service.arithmetic.geometry import Cost, Geometry, Limits, check_cost, check_fits, describe_size
from service.arithmetic.pooling import pool
from service.arithmetic.steps import Layout, Step, check_steps, convolution_steps, pooling_steps
from service.arithmetic.windows import Array
from service.errors import InvalidRequest
from service.images import decode_image
from service.matrices.calls import JSON, Body, Call, read_call, read_words
from service.matrices.npy import NPY, write_npy
from service.matrices.rendering import PNG, encode_png, to_picture
from service.matrices.requests import ConvolvePictureRequest, ConvolveRequest, PoolRequest, read_fields
from service.matrices.serialization import write_object


class Answer(NamedTuple):
    """The body of an answer, its media type, and the milliseconds of its stages."""

    body: bytes | memoryview
    media_type: str
    timings: dict[str, float]


class Result(NamedTuple):
    """What was computed: float64 C×h×w, and how it is to be shown."""

    output: Array
    geometry: Geometry
    layout: Layout | None  # None: without the axis of channels
    exact: bool
    steps: list[Step] | None


def answer_convolve(call: Call, limits: Limits) -> Answer:
    """Answer `POST /convolve`. Raises ServiceErrors."""
    return _answer(call, limits, ConvolveRequest, _convolve)


def answer_pool(call: Call, limits: Limits) -> Answer:
    """Answer `POST /pool`. Raises ServiceErrors."""
    return _answer(call, limits, PoolRequest, _pool)


def answer_picture(picture: bytes, form: list[tuple[str, str]], limits: Limits, max_pixels: int) -> Answer:
    """Answer `POST /convolve/image` with a PNG: grey for one channel, RGB for three."""
    started = perf_counter()
    fields = read_fields(ConvolvePictureRequest, read_words(form))
    asked = fields.convolution(channels=3)
    outputs = len(asked.filters) * (3 if asked.per_channel else 1)
    if outputs not in (1, 3):
        raise InvalidRequest(
            f"the output has {outputs} channels; a picture has 1 or 3", field=fields.filter_field
        )
    # Refused before it is decoded where its cells, three a pixel, would be too many below.
    decoded = decode_image(picture, max_pixels=min(max_pixels, limits.max_cells // 3))
    image = decoded.astype(np.float64, order="C")
    ready = perf_counter()
    _check(asked.plan(image), asked.cost(image), limits, field=fields.filter_field)
    output = convolve(image, asked)
    timings = _milliseconds(started, ready)
    return Answer(encode_png(to_picture(output, fields.normalize)), PNG, timings)


def _answer(
    call: Call,
    limits: Limits,
    body: type[Body],
    compute: Callable[[Body, Limits, bool], Result],
) -> Answer:
    started = perf_counter()
    fields, with_steps = read_call(call, body, max_cells=limits.max_cells)
    ready = perf_counter()
    result = compute(fields, limits, with_steps)
    del fields  # the image goes before its answer is written
    timings = _milliseconds(started, ready)
    if call.wants_npy:
        return Answer(write_npy(_arrange(result)), NPY, timings)
    return Answer(_write_json(result), JSON, timings)


def _milliseconds(started: float, ready: float) -> dict[str, float]:
    return {"decode": (ready - started) * 1000, "infer": (perf_counter() - ready) * 1000}


def _convolve(fields: ConvolveRequest, limits: Limits, with_steps: bool) -> Result:
    image = fields.channels_first
    asked = fields.convolution(channels=len(image))
    geometry, cost = asked.plan(image), asked.cost(image)
    _check(geometry, cost, limits, field=fields.filter_field)
    if with_steps:
        check_steps(geometry, outputs=cost.outputs, numbers_a_step=2 * cost.taps)
    output = convolve(image, asked)
    steps = convolution_steps(image, asked, fields.image_layout) if with_steps else None
    has_channels = fields.filters is not None or (asked.per_channel and fields.image.ndim == 3)
    layout = fields.layout if has_channels else None
    return Result(output, geometry, layout, convolution.is_exact(image, asked), steps)


def _pool(fields: PoolRequest, limits: Limits, with_steps: bool) -> Result:
    image, asked = fields.channels_first, fields.pooling
    geometry = asked.plan(image)
    cost = Cost(channels=len(image), outputs=len(image), taps=geometry.taps)
    _check(geometry, cost, limits, field="size")
    if with_steps:
        check_steps(geometry, outputs=cost.outputs, numbers_a_step=cost.taps)
    output = pool(image, asked)
    exact = pooling.is_exact(image, asked, output)
    steps = pooling_steps(image, asked, exact=exact) if with_steps else None
    return Result(output, geometry, fields.image_layout, exact, steps)


def _check(geometry: Geometry, cost: Cost, limits: Limits, *, field: str) -> None:
    check_fits(geometry, field=field)
    check_cost(geometry, cost, limits, field=field)


def _arrange(result: Result) -> Array:
    """The output in the caller's own layout."""
    if result.layout is None:
        flat: Array = result.output[0]
        return flat
    return result.output.transpose(1, 2, 0) if result.layout == "HWC" else result.output


def _write_json(result: Result) -> memoryview:
    output = _arrange(result)
    others: dict[str, Any] = {"shape": output.shape, "size": describe_size(result.geometry)}
    if result.steps is not None:
        others["steps"] = result.steps
        if result.layout is None:
            for step in result.steps:
                del step["channel"]
    return write_object(output, others, exact=result.exact)
