"""The bodies of answers about models and predictions, as the contract has them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.problems import Problem


class Guess(BaseModel):
    """One class and how likely the model finds it."""

    label: Annotated[str, Field(examples=["cat"])]
    index: Annotated[int, Field(ge=0, examples=[3], description="place of the label in the model's `labels`")]
    probability: Annotated[float, Field(ge=0, le=1, examples=[0.93])]


class Prediction(BaseModel):
    """The likeliest classes of a picture, the likeliest first."""

    model: Annotated[str, Field(examples=["cifar10-resnet"])]
    version: Annotated[str, Field(examples=["1.0.0"])]
    predictions: list[Guess]


class ClassifiedPicture(BaseModel):
    """One picture of a batch that was classified."""

    filename: Annotated[str | None, Field(examples=["cat.jpg"])]
    predictions: list[Guess]


class RefusedPicture(BaseModel):
    """One picture of a batch that could not be."""

    filename: Annotated[str | None, Field(examples=["notes.txt"])]
    error: Problem


class BatchPrediction(BaseModel):
    """One result a picture, in the order sent."""

    model: Annotated[str, Field(examples=["cifar10-resnet"])]
    version: Annotated[str, Field(examples=["1.0.0"])]
    results: list[ClassifiedPicture | RefusedPicture]


class InputSize(BaseModel):
    """What a model sees: every picture is brought to this size."""

    height: Annotated[int, Field(examples=[32])]
    width: Annotated[int, Field(examples=[32])]
    channels: Annotated[int, Field(examples=[3])]


class ServedModel(BaseModel):
    """The `model.json` of an artefact, whatever else that holds, and the SHA-256 of its file."""

    model_config = ConfigDict(extra="allow")

    schema_: Annotated[int, Field(alias="schema", examples=[1], description="the form of `model.json`")]
    name: Annotated[str, Field(examples=["cifar10-resnet"])]
    version: Annotated[str, Field(examples=["1.0.0"])]
    labels: Annotated[list[str], Field(examples=[["cat", "dog"]], description="the classes in index order")]
    input: InputSize
    metrics: Annotated[dict[str, Any], Field(description="accuracy, calibration error and on which data")]
    training: Annotated[dict[str, Any], Field(description="network, recipe, seed, device, date and more")]
    parameters: Annotated[int, Field(description="learned numbers")]
    macs: Annotated[int, Field(description="multiply-adds a picture")]
    sha256: Annotated[str, Field(description="of the artefact's file, in hexadecimal")]


class Models(BaseModel):
    """The served models, each with the `model.json` of its artefact and the SHA-256 of its file."""

    default: Annotated[str, Field(examples=["cifar10-resnet"])]
    models: list[ServedModel]
    refused: Annotated[
        dict[str, str],
        Field(
            description="files of the models folder that could not be loaded again, and why", examples=[{}]
        ),
    ]


class LearnedFilters(BaseModel):
    """The learned filters of a model's first convolutional layer."""

    model: Annotated[str, Field(examples=["cifar10-resnet"])]
    version: Annotated[str, Field(examples=["1.0.0"])]
    shape: Annotated[
        list[int], Field(examples=[[6, 3, 5, 5]], description="filters, channels, height, width")
    ]
    filters: list[list[list[list[float]]]]


class Health(BaseModel):
    """The state of the service."""

    status: Annotated[str, Field(examples=["ready"])]
