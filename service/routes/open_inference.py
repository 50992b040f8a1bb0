"""The Open Inference Protocol v2 (KServe, Triton) under /v2: metadata, health, inference with tensors."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, Request
from numpy.typing import NDArray
from starlette.responses import Response

from service.errors import QueueFull, UnknownModel
from service.matrices.buffers import Bytes
from service.open_inference.answers import Probabilities, write_answer
from service.open_inference.bodies import LENGTH_HEADER, part, unpack
from service.open_inference.openapi import DESCRIBED_ANSWER, ERRORS, describe_request
from service.open_inference.requests import Call, read_call
from service.open_inference.schemas import (
    InferenceResponse,
    ModelMetadata,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    describe_tensors,
)
from service.routes import operations
from service.routes.matrices import read_once
from service.routes.models import NamedModel
from service.serving import Served

router = APIRouter(tags=["open inference protocol"])
P = ParamSpec("P")
R = TypeVar("R")

EXTENSIONS = ["binary_tensor_data", "classification"]
INLINE = 64 * 2**10  # bytes of a body, or cells of an answer: less is done within a millisecond
MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"


def model_of_version(request: Request, served: NamedModel) -> Served:
    """Find the model of the path, in the version of the path if there is one. Raises UnknownModel."""
    wanted, version = request.path_params.get("version"), served.model.card.version
    if wanted is not None and wanted != version:
        raise UnknownModel(f"no version {wanted[:100]!r} of {served.model.name}; served is {version!r}")
    return served


ModelOfPath = Annotated[Served, Depends(model_of_version)]


@router.get("/v2/", include_in_schema=False)
@router.get("/v2", operation_id="server_metadata", summary="Describe the server", responses=ERRORS)
async def server(request: Request) -> ServerMetadata:
    """Answer name, version and the extensions of the protocol that are served."""
    return ServerMetadata(name="stride", version=request.app.version, extensions=EXTENSIONS)


@router.head("/v2/health/live", include_in_schema=False)
@router.get("/v2/health/live", operation_id="server_live", summary="Is the server alive?", responses=ERRORS)
async def live(request: Request) -> ServerLive:
    """Answer 200 as long as the event loop turns and no model is stuck."""
    await operations.live(request)
    return ServerLive()


@router.head("/v2/health/ready", include_in_schema=False)
@router.get(
    "/v2/health/ready", operation_id="server_ready", summary="Are all models ready?", responses=ERRORS
)
async def ready(request: Request) -> ServerReady:
    """Answer 200 once every model is loaded, checked and warm; 503 again while shutting down."""
    await operations.ready(request)
    return ServerReady()


@router.get(f"{VERSION}/ready", include_in_schema=False)
@router.get(f"{MODEL}/ready", operation_id="model_ready", summary="Is a model ready?", responses=ERRORS)
async def model_ready(request: Request, served: ModelOfPath) -> ModelReady:
    """Answer 200 where the model is served and the server is ready.

    Also at /v2/models/{name}/versions/{version}/ready.
    """
    await operations.ready(request)
    return ModelReady(name=served.model.name)


@router.get(VERSION, include_in_schema=False)
@router.get(MODEL, operation_id="model_metadata", summary="Describe a model's tensors", responses=ERRORS)
async def model(served: ModelOfPath) -> ModelMetadata:
    """Answer the input, pictures as UINT8, and the output, a probability a class in the labels' order.

    Also at /v2/models/{name}/versions/{version}.
    """
    card = served.model.card
    return describe_tensors(card.name, card.version, served.model.shape, len(card.labels))


@router.post(f"{VERSION}/infer", include_in_schema=False)
@router.post(
    f"{MODEL}/infer",
    operation_id="model_infer",
    summary="Classify a tensor of pictures",
    response_model=InferenceResponse,
    openapi_extra=describe_request(),
    responses=DESCRIBED_ANSWER | ERRORS,
)
async def infer(request: Request, served: ModelOfPath) -> Response:
    """Answer the probabilities of up to 1,024 pictures that are the model's input already, uint8 N×C×S×S.

    Tensors as JSON, nested or flat, or binary, each way. An output's parameter `classification`: k gives
    the k likeliest classes as "value:index:label" instead. Also at
    /v2/models/{name}/versions/{version}/infer.
    """
    served.batcher.check_room()  # before the work of reading what would be refused
    body, packed = await read_once(request), request.headers.get("content-encoding", "")
    length, shape = request.headers.get(LENGTH_HEADER), served.model.shape
    if packed:
        limit = request.app.state.settings.max_body_bytes
        body = await request.app.state.workers.run(unpack, body, packed, limit)
    held = Held(request, len(body) if packed else 0)
    with held:
        call = await run(request, len(body), read, body, length, shape)
        del body
        probabilities = await classify_all(served, call.pictures, request.state.timings)
    return await write(request, served, call, probabilities)


class Held:
    """Count what a body has become by decompression among the bytes that all bodies hold together."""

    def __init__(self, request: Request, size: int) -> None:
        self.buffered = request.app.state.parts.buffered
        self.size = size

    def __enter__(self) -> None:
        total = self.buffered.held + self.size
        if self.size and total > self.buffered.most:
            raise QueueFull(
                f"the bodies of all requests are {total:,} bytes; the limit is {self.buffered.most:,} bytes;"
                " try again in 1 s"
            )
        self.buffered.held = total

    def __exit__(self, *_: object) -> None:
        self.buffered.held -= self.size


def read(body: Bytes, header_length: str | None, shape: tuple[int, int, int]) -> Call:
    return read_call(part(body, header_length), shape)


async def run(request: Request, size: int, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `function` here where its work is small, else on a worker.

    On none that stands back: it would hold the interpreter's lock while others have the core.
    """
    if size <= INLINE:
        return function(*args, **kwargs)
    result: R = await request.app.state.workers.run(function, *args, **kwargs)
    return result


async def classify_all(
    served: Served, pictures: NDArray[np.uint8], timings: dict[str, float]
) -> Probabilities:
    """Classify N×C×S×S, only so many at once that one request cannot fill the queue: float32 N×classes.

    `timings` gets each stage's longest.
    """
    probabilities = np.empty((len(pictures), len(served.model.card.labels)), np.float32)
    left = iter(range(len(pictures)))

    async def classify_some() -> None:
        for index in left:
            own: dict[str, float] = {}
            ranking = await served.submit(pictures[index], own)
            probabilities[index, ranking.indices] = ranking.probabilities
            timings.update({stage: max(spent, timings.get(stage, 0.0)) for stage, spent in own.items()})

    tasks = [asyncio.create_task(classify_some()) for _ in range(min(served.at_once, len(pictures)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # whoever is refused does not leave work behind
            task.cancel()
    return probabilities


async def write(request: Request, served: Served, call: Call, probabilities: Probabilities) -> Response:
    card = served.model.card
    head: dict[str, Any] = {"model_name": card.name, "model_version": card.version}
    if call.id is not None:
        head["id"] = call.id
    cells = probabilities.size
    written = await run(request, cells, write_answer, head, probabilities, card.labels, call.wanted)
    if written.header_length is None:
        return Response(written.body, media_type="application/json")
    headers = {LENGTH_HEADER: str(written.header_length)}
    return Response(written.body, headers=headers, media_type="application/octet-stream")
