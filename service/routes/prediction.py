"""POST /predict and /predict/batch: pictures in, labelled probabilities out."""

import asyncio
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from starlette.datastructures import UploadFile

from service.errors import InvalidRequest, QueueFull, ServiceError, ShuttingDown
from service.images import check_picture_type
from service.problems import Problem, as_problem, problem_responses
from service.schemas import BatchPrediction, Classified, Guess, Prediction, Refused
from service.serving import Probabilities, Served
from service.uploads import many_files, read_form, read_picture

DEFAULT_TOP_K = 5
QUERY = ("top_k", "model")

PICTURE = {"type": "string", "format": "binary"}
ONE_PICTURE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JPEG, PNG, WebP, GIF (first frame), BMP, TIFF: multipart field `file`, or the body.",
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["file"], "properties": {"file": PICTURE}}
            },
            "image/*": {"schema": PICTURE},
            "application/octet-stream": {"schema": PICTURE},
        },
    }
}
MANY_PICTURES: dict[str, Any] = {
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
    }
}


def refuse_unknown_query(request: Request) -> None:
    """Refuse a query parameter that would be ignored: `topk=3` is a typing error, not a wish for five."""
    for name in request.query_params:
        if name not in QUERY:
            raise InvalidRequest(
                f"there is no query parameter {name[:60]!r}; there are {' and '.join(QUERY)}",
                field=name[:60],
            )


def choose_model(
    request: Request,
    model: Annotated[
        str | None, Query(description="a served model's name; default: the default model")
    ] = None,
) -> Served:
    """Find the model a request asks for."""
    served: Served = request.app.state.models.find(model)
    return served


router = APIRouter(tags=["predict"], dependencies=[Depends(refuse_unknown_query)])
ChosenModel = Annotated[Served, Depends(choose_model)]


def choose_top_k(
    request: Request,
    served: ChosenModel,
    top_k: Annotated[
        int, Query(ge=1, description="how many classes to answer, up to all of the model's")
    ] = DEFAULT_TOP_K,
) -> int:
    """Check `top_k` against the model's number of classes; the default gives way where there are fewer."""
    classes = len(served.model.card.labels)
    if top_k > classes and "top_k" in request.query_params:
        raise InvalidRequest(
            f"top_k must be at most {classes}, the number of classes of {served.model.name}; got {top_k}",
            field="top_k",
        )
    return min(top_k, classes)


TopK = Annotated[int, Depends(choose_top_k)]


@router.post(
    "/predict",
    summary="Classify a picture",
    openapi_extra=ONE_PICTURE,
    responses=problem_responses(400, 404, 413, 415, 422, 503),
)
async def predict(request: Request, served: ChosenModel, top_k: TopK) -> Prediction:
    """Answer the `top_k` likeliest classes with their probabilities, the likeliest first.

    Any colour mode; EXIF orientation is honoured; transparency is seen on white. The model sees the
    central square of the picture, resized to its input.
    """
    data = await read_picture(request)
    probabilities = await served.predict(data, request.state.timings)
    card = served.model.card
    return Prediction(
        model=card.name, version=card.version, predictions=likeliest(probabilities, card.labels, top_k)
    )


@router.post(
    "/predict/batch",
    summary="Classify several pictures",
    response_model_exclude_none=True,
    openapi_extra=MANY_PICTURES,
    responses=problem_responses(404, 413, 415, 422, 503),
)
async def predict_batch(request: Request, served: ChosenModel, top_k: TopK) -> BatchPrediction:
    """Answer one result a picture in the order sent; an unreadable one has an `error` in its place."""
    async with read_form(request, request.app.state.settings.max_files) as form:
        uploads = many_files(form)
        results = await classify_all(served, uploads, top_k, request.state.timings)
    card = served.model.card
    return BatchPrediction(model=card.name, version=card.version, results=results)


async def classify_all(
    served: Served, uploads: list[UploadFile], top_k: int, timings: dict[str, float]
) -> list[Classified | Refused]:
    """Classify many pictures, only so many at once that one request cannot fill the queue by itself.

    `timings` gets each stage's longest.
    """
    places = asyncio.Semaphore(served.at_once)

    async def classify(upload: UploadFile) -> Classified | Refused:
        own: dict[str, float] = {}
        async with places:
            result = await classify_one(served, upload, top_k, own)
        timings.update({stage: max(spent, timings.get(stage, 0.0)) for stage, spent in own.items()})
        return result

    tasks = [asyncio.create_task(classify(upload)) for upload in uploads]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # whoever is refused does not leave work behind
            task.cancel()


async def classify_one(
    served: Served, upload: UploadFile, top_k: int, timings: dict[str, float]
) -> Classified | Refused:
    """Classify one picture of many: its own error is its result, a full server is everybody's."""
    try:
        check_picture_type(upload.content_type)
        probabilities = await served.predict(await upload.read(), timings)
    except (QueueFull, ShuttingDown):
        raise
    except ServiceError as error:
        return Refused(filename=upload.filename, error=Problem(**as_problem(error)))
    guesses = likeliest(probabilities, served.model.card.labels, top_k)
    return Classified(filename=upload.filename, predictions=guesses)


def likeliest(probabilities: Probabilities, labels: list[str], top_k: int) -> list[Guess]:
    """Pick the `top_k` classes of falling probability; equal ones in the order of the labels."""
    order = np.argsort(-probabilities, kind="stable")[:top_k].tolist()
    return [Guess(label=labels[i], index=i, probability=float(probabilities[i])) for i in order]
