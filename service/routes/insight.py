"""POST /layers, /layers/{layer} and /explain: what the network does with a picture, and why."""

from collections.abc import Callable
from time import perf_counter
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from service.images import decode_image
from service.insight.answers import Method, answer_cell, answer_heat, answer_layers, heat_numbers
from service.insight.overlay import overlay
from service.insight.schemas import Cell, Heat, Layers
from service.matrices.rendering import PNG, encode_png
from service.problems import problem_responses
from service.routes.queries import ONE_PICTURE_BODY, Query, describe_query, read_query
from service.serving import Pixels, Served
from service.uploads import read_picture

router = APIRouter(tags=["insight"])
Index = Annotated[int, Field(ge=0)]

# The PNG first, which is sent by default: generated clients take the first form that they know.
PNG_OR_HEAT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The heat over the picture; with `format=json` its numbers.",
        "content": {
            PNG: {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": {"$ref": "#/components/schemas/Heat"}},
        },
    }
}


class LayersQuery(Query):
    """Whether feature maps are wanted."""

    maps: Annotated[bool, Field(description="`false`: the layers without their feature maps")] = True


class CellQuery(Query):
    """Which cell of a layer's output; a vector has channels alone."""

    channel: Index = 0
    row: Index = 0
    column: Index = 0


class ExplainQuery(Query):
    """Which class, by which method, and in which form."""

    method: Annotated[
        Method, Field(description="`hires-cam`: Grad-CAM with every cell weighed by its own slope")
    ] = "grad-cam"
    label: Annotated[str | None, Field(description="a class; default: the likeliest")] = None
    format: Literal["png", "json"] = "png"


@router.post(
    "/layers",
    operation_id="show_layers",
    summary="Show every layer",
    response_model=Layers,
    openapi_extra={"parameters": describe_query(LayersQuery), "requestBody": ONE_PICTURE_BODY},
    responses=problem_responses(400, 404, 413, 415, 422, 503),
)
async def layers(request: Request) -> Response:
    """Answer the picture's way through the network, layer by layer, in the order of computation.

    Each layer with its kind, parameters, output shape and feature maps: at most 64, each at most 64×64
    cells, side by side in one grey PNG whose level 0 is `minimum` and 255 `maximum`; a vector as numbers.
    Computed in float32, so the last digits may differ from `/predict`'s.
    """
    query = read_query(request, LayersQuery)
    return await look(request, query, answer_layers, query.maps)


@router.post(
    "/layers/{layer}",
    operation_id="show_cell",
    summary="Show one cell of a layer",
    response_model=Cell,
    openapi_extra={"parameters": describe_query(CellQuery), "requestBody": ONE_PICTURE_BODY},
    responses=problem_responses(400, 404, 413, 415, 422, 503),
)
async def cell(
    request: Request,
    layer: Annotated[str, Field(max_length=200, examples=["conv1"])],
) -> Response:
    """Answer one cell of a layer's output with the window, the filter and the products' sums behind it."""
    query = read_query(request, CellQuery)
    place = (query.channel, query.row, query.column)
    return await look(request, query, answer_cell, layer, place)


@router.post(
    "/explain",
    operation_id="explain",
    summary="Show where a class is seen",
    response_model=Heat,
    response_class=Response,
    openapi_extra={"parameters": describe_query(ExplainQuery), "requestBody": ONE_PICTURE_BODY},
    responses=PNG_OR_HEAT | problem_responses(400, 404, 413, 415, 422, 503),
)
async def explain(request: Request) -> Response:
    """Answer a heat map of what speaks for a class: over the picture as a PNG, or as numbers.

    `grad-cam` weighs the feature maps of the last layer with maps of 4×4 or more by the slope of the
    class's logit (one pass, coarse); `hires-cam` weighs each of their cells by its own slope;
    `occlusion` hides a fourth of the side, patch by patch, and
    measures how far the log-odds of the class fall (up to 169 passes, and the network's own testimony).
    """
    query = read_query(request, ExplainQuery)
    batch_size: int = request.app.state.settings.batch_size
    served, data, pixels = await take(request, query)
    started = perf_counter()
    run = request.app.state.workers.run_large
    known, heat = await run(answer_heat, served.model, pixels, query.method, query.label, batch_size)
    if query.format == "png":
        body = await run(draw, served, data, pixels, heat)
        answer = Response(body, media_type=PNG)
    else:
        answer = as_json(served, known | heat_numbers(heat))
    request.state.timings["infer"] = (perf_counter() - started) * 1000
    return answer


async def look(
    request: Request, query: Query, function: Callable[..., dict[str, Any]], *args: Any
) -> Response:
    """Run `function` on the model and the prepared picture of a request, and send what it answers."""
    served, _, pixels = await take(request, query)
    started = perf_counter()
    body = await request.app.state.workers.run_large(function, served.model, pixels, *args)
    request.state.timings["infer"] = (perf_counter() - started) * 1000
    return as_json(served, body)


async def take(request: Request, query: Query) -> tuple[Served, bytes, Pixels]:
    """Find the model asked for, and read the picture: its bytes, and as the model takes it."""
    served: Served = request.app.state.models.find(query.model)
    data = await read_picture(request)
    run = request.app.state.workers.run_large
    pixels, request.state.timings["decode"] = await run(served.decode, data, served.max_pixels)
    # As torch lays pictures out: a network may `view` its maps, which it was tried with at the start.
    return served, data, np.ascontiguousarray(pixels)


def draw(served: Served, data: bytes, pixels: Pixels, heat: Any) -> bytes:
    """Lay a heat map over the picture as a PNG: over its central square where that is what a model sees."""
    picture = pixels
    if served.square is not None:
        whole = decode_image(data, max_pixels=served.max_pixels, channels=len(pixels))
        height, width = whole.shape[1:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        picture = whole[:, top : top + side, left : left + side]
    return encode_png(overlay(picture, heat))


def as_json(served: Served, body: dict[str, Any]) -> Response:
    card = served.model.card
    return Response(
        orjson.dumps({"model": card.name, "version": card.version} | body), media_type="application/json"
    )
