"""POST /convolve, /convolve/image and /pool, GET /filters: the arithmetic of a layer on one's own numbers."""

from collections.abc import Callable
from typing import ParamSpec

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.arithmetic.filters import CATALOGUE
from service.arithmetic.geometry import Limits
from service.errors import InvalidRequest, MalformedRequest
from service.matrices.answers import Answer, answer_convolve, answer_picture, answer_pool
from service.matrices.buffers import LARGE_BYTES, Bytes, reserve
from service.matrices.calls import Call
from service.matrices.openapi import (
    CONVOLVE_EXAMPLES,
    CONVOLVED_EXAMPLE,
    POOL_EXAMPLES,
    POOLED_EXAMPLE,
    describe_answer,
    describe_call,
    describe_picture_form,
    describe_png,
)
from service.matrices.requests import ConvolveRequest, PoolRequest
from service.matrices.schemas import Convolved, NamedFilter, NamedFilters, Pooled
from service.problems import problem_responses
from service.settings import Settings
from service.uploads import Part, one_file, read_form

router = APIRouter(tags=["matrices"])
P = ParamSpec("P")


@router.post(
    "/convolve",
    operation_id="convolve",
    summary="Convolve a matrix",
    response_model=Convolved,
    openapi_extra=describe_call(ConvolveRequest, CONVOLVE_EXAMPLES),
    responses=describe_answer(CONVOLVED_EXAMPLE, "The output; as `.npy` where `Accept` asks for it.")
    | problem_responses(400, 413, 415, 422, 503),
)
async def convolve(request: Request) -> Response:
    """Slide a filter, or several, over an image of numbers and answer the sums.

    Computed in IEEE doubles; whole numbers in give exact whole numbers out. Any padding, stride and
    dilation, channels summed or kept apart. `size` explains the output's size by the formula
    floor((n + 2p - f) / s) + 1, and `steps=true` shows every window and its products. For images too
    large for JSON send a `.npy` array as the body, the other fields in the query, each a word or JSON.
    """
    return await answer(request, answer_convolve)


@router.post(
    "/pool",
    operation_id="pool",
    summary="Pool a matrix",
    response_model=Pooled,
    openapi_extra=describe_call(PoolRequest, POOL_EXAMPLES),
    responses=describe_answer(POOLED_EXAMPLE, "The output; as `.npy` where `Accept` asks for it.")
    | problem_responses(400, 413, 415, 422, 503),
)
async def pool(request: Request) -> Response:
    """Reduce every window of an image to its largest cell or its average, channel by channel.

    Windows lie side by side unless `stride` says otherwise. Padding never is the largest; in an
    average it counts as zeros. The output keeps the image's axes. JSON or `.npy`, as `/convolve`.
    """
    return await answer(request, answer_pool)


@router.post(
    "/convolve/image",
    operation_id="convolve_image",
    summary="Filter a picture",
    response_class=Response,
    openapi_extra=describe_picture_form(),
    responses=describe_png() | problem_responses(400, 413, 415, 422, 503),
)
async def convolve_image(request: Request) -> Response:
    """Convolve a picture and answer a PNG of the result.

    The picture is taken as RGB, 0 to 255. `per_channel` is true here unless sent, as image editors
    have it: red, green and blue are filtered apart. `normalize` says how results become 0 to 255.
    """
    settings: Settings = request.app.state.settings
    if request.query_params:
        raise InvalidRequest("fields are in the form, not in the query", field="query")
    form = await read_form(request)
    picture, words = one_file(form), read_texts(form)
    return await run(request, answer_picture, picture, words, limits_of(settings), settings.max_pixels)


@router.get("/filters", operation_id="list_filters", summary="List the named filters")
async def filters() -> NamedFilters:
    """Answer every filter that can be asked for by name, its numbers and what it finds."""
    return NamedFilters(
        filters=[
            NamedFilter(name=one.name, matrix=[list(row) for row in one.matrix], finds=one.finds)
            for one in CATALOGUE.values()
        ]
    )


async def answer(request: Request, function: Callable[[Call, Limits], Answer]) -> Response:
    """Take a call off HTTP and answer it on a worker's thread."""
    headers = request.headers
    call = Call(
        body=await read_once(request),
        content_type=headers.get("content-type", ""),
        query=request.query_params.multi_items(),
        accept=headers.get("accept", ""),
    )
    return await run(request, function, call, limits_of(request.app.state.settings))


async def read_once(request: Request) -> Bytes:
    """Read the body; `request.body()` would hold it twice, and keep it until the answer is sent."""
    declared = request.headers.get("content-length", "")
    pieces = request.stream()
    if not declared.isdecimal() or int(declared) < LARGE_BYTES:
        return b"".join([piece async for piece in pieces])
    first = await anext(pieces)  # RequestContext has looked at the length by now
    body = reserve(int(declared))
    body.write(first)
    async for piece in pieces:
        if body.tell() + len(piece) > len(body):
            raise MalformedRequest("the body is longer than its Content-Length", field="body")
        body.write(piece)
    if body.tell() != len(body):
        raise MalformedRequest("the body is shorter than its Content-Length", field="body")
    return body


async def run(request: Request, function: Callable[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Response:
    """Run `function` on a worker's thread and send what it answers."""
    result: Answer = await request.app.state.workers.run(function, *args, **kwargs)
    request.state.timings.update(result.timings)
    return Response(result.body, media_type=result.media_type)


def read_texts(form: list[Part]) -> list[tuple[str, str]]:
    """Give the fields of a form beside `file`. Raises InvalidRequest where one of them is a file too."""
    texts = []
    for part in form:
        if part.filename is None:
            texts.append((part.name, part.text))
        elif part.name != "file":
            raise InvalidRequest(f"{part.name[:60]!r} is a file; send it as text", field=part.name[:60])
    return texts


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.max_cells, settings.max_multiply_adds)
