"""POST /predict and /predict/batch: pictures in, labelled probabilities out."""

import asyncio
import logging
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from service.errors import InvalidRequest, QueueFull, ServiceError, ShuttingDown, WaitedTooLong
from service.images import check_picture_type
from service.problems import as_problem, problem_responses
from service.request_state import RequestState
from service.routes.queries import ONE_PICTURE_BODY, PICTURE, Query, describe_query, read_query
from service.schemas import BatchPrediction, Prediction
from service.serving import Ranking, Served
from service.uploads import Part, many_files, read_form, read_picture

log = logging.getLogger("service")
Guesses = list[dict[str, Any]]


class PredictQuery(Query):
    """What may stand in the query."""

    top_k: Annotated[int, Field(ge=1, description="how many classes to answer, up to all of the model's")] = 5


DEFAULTS = PredictQuery()

ONE_PICTURE = {"parameters": describe_query(PredictQuery), "requestBody": ONE_PICTURE_BODY}
MANY_PICTURES: dict[str, Any] = {
    "parameters": describe_query(PredictQuery),
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "items": PICTURE, "minItems": 1}},
                }
            }
        },
    },
}


router = APIRouter(tags=["predict"])


# Both take the request as it is: FastAPI's own reading of a form costs 75 µs, more than decoding and
# classifying a small picture (docs/performance.md).
@router.post(
    "/predict",
    operation_id="predict",
    summary="Classify a picture",
    response_model=Prediction,
    openapi_extra=ONE_PICTURE,
    responses=problem_responses(400, 404, 413, 415, 422, 503),
)
async def predict(request: Request) -> Response:
    """Answer the `top_k` likeliest classes with their probabilities, the likeliest first.

    Any colour mode; EXIF orientation is honoured; transparency is seen on white. The model sees the
    central square of the picture, resized to its input.
    """
    served, top_k = choose(request)
    served.batcher.check_room()  # before the work of reading what would be refused
    data = await read_picture(request)
    ranking = await served.predict(data, request.state.timings)
    return answer(served, predictions=likeliest(ranking, served, top_k))


@router.post(
    "/predict/batch",
    operation_id="predict_batch",
    summary="Classify several pictures",
    response_model=BatchPrediction,
    openapi_extra=MANY_PICTURES,
    responses=problem_responses(400, 404, 413, 415, 422, 503),
)
async def predict_batch(request: Request) -> Response:
    """Answer one result a picture in the order sent; an unreadable one has an `error` in its place."""
    served, top_k = choose(request)
    files = many_files(await read_form(request, request.app.state.settings.max_files))
    results = await classify_all(served, files, top_k, request.state.request)
    if all(one.get("error", {}).get("status") == ServiceError.status for one in results):
        raise RuntimeError("the model failed on every picture")  # an answer of 200 would hide it
    return answer(served, results=results)


def choose(request: Request) -> tuple[Served, int]:
    """Find the model a request asks for, and how many classes, no more than it has."""
    query = read_query(request, PredictQuery) if request.scope["query_string"] else DEFAULTS
    served: Served = request.app.state.models.find(query.model)
    classes = len(served.model.card.labels)
    if query.top_k > classes and "top_k" in query.model_fields_set:
        raise InvalidRequest(
            f"top_k must be at most {classes}, the number of classes of {served.model.name};"
            f" got {query.top_k}",
            field="top_k",
        )
    return served, min(query.top_k, classes)


def answer(served: Served, **body: Any) -> Response:
    card = served.model.card
    return Response(
        orjson.dumps({"model": card.name, "version": card.version, **body}), media_type="application/json"
    )


async def classify_all(
    served: Served, files: list[Part], top_k: int, request: RequestState
) -> list[dict[str, Any]]:
    """Classify many pictures, only so many at once that one request cannot fill the queue by itself.

    The request's timings get each stage's longest.
    """
    places = asyncio.Semaphore(served.at_once)

    async def classify(file: Part) -> dict[str, Any]:
        own: dict[str, float] = {}
        async with places:
            result = await classify_one(served, file, top_k, own, request.id)
        longest = request.timings
        longest.update({stage: max(spent, longest.get(stage, 0.0)) for stage, spent in own.items()})
        return {"filename": file.filename} | result

    tasks = [asyncio.create_task(classify(file)) for file in files]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # whoever is refused does not leave work behind
            task.cancel()


async def classify_one(
    served: Served, file: Part, top_k: int, timings: dict[str, float], request_id: str
) -> dict[str, Any]:
    """Classify one picture of many: its own error is its result, a full server is everybody's."""
    try:
        check_picture_type(file.content_type)
        ranking = await served.predict(file.data, timings)
    except (QueueFull, ShuttingDown, WaitedTooLong):
        raise
    except ServiceError as error:
        return {"error": as_problem(error)}
    except Exception as error:  # the model's own
        log.exception("internal error", extra={"request_id": request_id})
        return {"error": as_problem(error)}
    return {"predictions": likeliest(ranking, served, top_k)}


def likeliest(ranking: Ranking, served: Served, top_k: int) -> Guesses:
    """Name the first `top_k` classes of a ranking."""
    labels = served.model.card.labels
    return [
        {"label": labels[index], "index": index, "probability": probability}
        for index, probability in zip(ranking.indices[:top_k], ranking.probabilities[:top_k], strict=True)
    ]
