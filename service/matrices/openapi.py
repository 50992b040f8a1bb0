"""Describe the matrix endpoints to OpenAPI: bodies, query parameters, and examples that a test runs."""

from typing import Any

from pydantic import BaseModel

from service.matrices.calls import JSON
from service.matrices.npy import NPY
from service.matrices.rendering import PNG
from service.matrices.requests import ConvolvePictureRequest

Schema = dict[str, Any]

BINARY = {"type": "string", "format": "binary"}

CONVOLVE_EXAMPLES: dict[str, Schema] = {
    "edge": {
        "summary": "A vertical edge: a 6×6 image gives a 4×4 output",
        "value": {"image": [[10, 10, 10, 0, 0, 0]] * 6, "filter": "vertical-edge"},
    },
    "rgb": {
        "summary": "An RGB image, H×W×3, and a filter of 3 channels: one output",
        "value": {
            "image": [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]] * 3,
            "filter": [[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, -1]]],
        },
    },
    "same": {
        "summary": "Same padding: the output is as large as the image",
        "value": {
            "image": [[10, 10, 10, 0, 0, 0]] * 6,
            "filter": [[1, 0, -1], [1, 0, -1], [1, 0, -1]],
            "padding": "same",
            "padding_mode": "replicate",
        },
    },
    "layer": {
        "summary": "A convolutional layer: two filters, stride 2, bias and ReLU",
        "value": {
            "image": [[10, 10, 10, 0, 0, 0]] * 6,
            "filters": ["sobel-x", "sobel-y"],
            "stride": 2,
            "padding": 1,
            "bias": [1, -1],
            "activation": "relu",
        },
    },
}
POOL_EXAMPLES: dict[str, Schema] = {
    "max": {
        "summary": "The largest of every 2×2 cells",
        "value": {"image": [[1, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2]], "size": 2},
    },
    "average": {
        "summary": "The average of overlapping windows",
        "value": {"image": [[1, 3, 2], [2, 9, 1], [1, 3, 2]], "size": 2, "stride": 1, "kind": "average"},
    },
}


def _answer(output: list[list[int]], n: int, f: int, s: int) -> Schema:
    axis = {"n": n, "p": 0, "f": f, "s": s, "result": len(output)}
    size = {"formula": "floor((n + 2p - f) / s) + 1", "height": axis, "width": axis}
    return {"output": output, "shape": [len(output), len(output[0])], "size": size}


CONVOLVED_EXAMPLE = _answer([[0, 30, 30, 0]] * 4, n=6, f=3, s=1)
POOLED_EXAMPLE = _answer([[9, 2], [6, 3]], n=4, f=2, s=2)


def describe_call(fields: type[BaseModel], examples: dict[str, Schema]) -> Schema:
    """The body, JSON or .npy, and the query that goes with it, for a route's `openapi_extra`."""
    schema = fields.model_json_schema()
    steps = {
        "name": "steps",
        "in": "query",
        "description": "`true`: show how every output cell came about, for outputs of at most 4,096.",
        "schema": {"type": "boolean"},
    }
    options = {name: field for name, field in schema["properties"].items() if name != "image"}
    return {
        "parameters": [steps, *(_describe_option(name, field) for name, field in options.items())],
        "requestBody": {
            "required": True,
            "description": f"JSON; or an array of 2 or 3 axes as `{NPY}`, its options in the query.",
            "content": {
                JSON: {"schema": schema, "examples": examples},
                NPY: {"schema": BINARY},
            },
        },
    }


def describe_picture_form() -> Schema:
    """The multipart form of `/convolve/image`, for its `openapi_extra`."""
    schema = ConvolvePictureRequest.model_json_schema()
    options = {name: _as_text(field) for name, field in schema["properties"].items()}
    schema["properties"] = {"file": BINARY | {"description": "A picture."}, **options}
    schema["required"] = ["file"]
    example = {"filter": "sobel-x", "padding": "same", "normalize": "abs"}
    content = {"multipart/form-data": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def _describe_option(name: str, field: Schema) -> Schema:
    # No defaults: the documentation page would send them with JSON, whose fields are in the body.
    text = {key: value for key, value in _as_text(field).items() if key not in ("default", "description")}
    description = f"With `{NPY}` only. {field['description']}"
    return {"name": name, "in": "query", "description": description, "schema": text}


def _as_text(field: Schema) -> Schema:
    """A field as a form or a query carries it: a word, or JSON where it is more than one value."""
    if "anyOf" not in field and field["type"] != "array":
        return field
    return {"type": "string", "description": f"{field['description']} JSON, or a word."}


def describe_answer(example: Schema, description: str) -> dict[int | str, Schema]:
    """The 200 of an endpoint that answers JSON or .npy."""
    content = {JSON: {"example": example}, NPY: {"schema": BINARY}}
    return {200: {"description": description, "content": content}}


def describe_png() -> dict[int | str, Schema]:
    description = "The filtered picture: grey for one channel, RGB for three."
    return {200: {"description": description, "content": {PNG: {"schema": BINARY}}}}
