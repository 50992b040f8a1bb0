"""GET /models: what is served, and what its first layer has learned."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request

from service.errors import UnknownModel
from service.problems import problem_responses
from service.schemas import LearnedFilters, Models, ServedModel
from service.serving import Served, ServedModels

router = APIRouter(tags=["models"])


def named_model(
    request: Request, name: Annotated[str, Path(examples=["cifar10-resnet"], max_length=200)]
) -> Served:
    """Find the model of the path."""
    models: ServedModels = request.app.state.models
    return models.find(name)


NamedModel = Annotated[Served, Depends(named_model)]


def card_of(served: Served) -> dict[str, Any]:
    """Give an artefact's `model.json`, and which file it is."""
    return served.model.card.model_dump(by_alias=True) | {"sha256": served.model.sha256}


@router.get("/models", operation_id="list_models", summary="List the served models")
async def models(request: Request) -> Models:
    """Answer each model's `model.json`: labels, input, metrics and how it was trained.

    `refused` names files that a reload could not use; what was served before is served on.
    """
    served: ServedModels = request.app.state.models
    return Models(
        default=served.default,
        models=[ServedModel.model_validate(card_of(one)) for one in served.by_name.values()],
        refused=dict(served.refused),
    )


@router.get(
    "/models/{name}",
    operation_id="show_model",
    response_model=ServedModel,
    summary="Describe a model",
    responses=problem_responses(404, 422),
)
async def model(served: NamedModel) -> dict[str, Any]:
    """Answer one model's `model.json`."""
    return card_of(served)


@router.get(
    "/models/{name}/filters",
    operation_id="show_learned_filters",
    summary="Show learned filters",
    responses=problem_responses(404, 422),
)
async def filters(served: NamedModel) -> LearnedFilters:
    """Answer the filters of the first convolutional layer as numbers: filters × channels × height × width."""
    card = served.model.card
    try:
        learned = served.model.filters()
    except LookupError as error:
        raise UnknownModel(str(error)) from None
    return LearnedFilters(
        model=card.name, version=card.version, shape=list(learned.shape), filters=learned.tolist()
    )
