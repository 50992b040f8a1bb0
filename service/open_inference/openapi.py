"""Describe the protocol's endpoints to OpenAPI: bodies, errors, and an example that a test runs."""

from typing import Any

from service.open_inference.bodies import ENCODINGS, LENGTH_HEADER
from service.open_inference.schemas import INPUT, INPUT_TYPE, OUTPUT, InferenceRequest

Schema = dict[str, Any]
BINARY: Schema = {"schema": {"type": "string", "format": "binary"}}
EXAMPLES: dict[str, Schema] = {
    "grey": {
        "summary": "A grey picture; the three likeliest classes",
        "value": {
            "id": "42",
            "inputs": [
                {"name": INPUT, "shape": [1, 3, 32, 32], "datatype": INPUT_TYPE, "data": [127] * 3 * 32 * 32}
            ],
            "outputs": [{"name": OUTPUT, "parameters": {"classification": 3}}],
        },
    }
}
ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "examples": ["no model 'nope'; served are cifar10-resnet"]}},
}
# Whatever the status: 400, 404, 413, 503 with Retry-After.
ERRORS: dict[int | str, Schema] = {
    "default": {"description": "What is wrong.", "content": {"application/json": {"schema": ERROR}}}
}


def describe_request() -> Schema:
    """The body and the headers that go with it, for a route's `openapi_extra`."""
    definitions = InferenceRequest.model_json_schema(ref_template="#/$defs/{model}")
    schema = resolve(definitions, definitions.pop("$defs"))
    return {
        "parameters": [
            header(
                LENGTH_HEADER, "integer", "bytes of the JSON where binary tensors follow; 0: a tensor alone"
            ),
            header("Content-Encoding", "string", "of the whole body", enum=[*ENCODINGS, ""]),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": schema, "examples": EXAMPLES},
                "application/octet-stream": BINARY,
            },
        },
    }


def header(name: str, kind: str, description: str, **schema: Any) -> Schema:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": kind} | schema,
    }


def resolve(schema: Any, definitions: dict[str, Any]) -> Any:
    """Put definitions where they are referred to: a route's own schema has no place for them."""
    if isinstance(schema, list):
        return [resolve(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return resolve(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    return {name: resolve(value, definitions) for name, value in schema.items()}


DESCRIBED_ANSWER: dict[int | str, Schema] = {
    200: {
        "description": f"JSON, or JSON of {LENGTH_HEADER} bytes and the binary tensors it lists.",
        "content": {"application/octet-stream": BINARY},
    }
}
