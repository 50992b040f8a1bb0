"""What requests with a picture have in common: the query, and how both are described."""

from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import InvalidRequest
from service.problems import from_pydantic

PICTURE = {"type": "string", "format": "binary"}
ONE_PICTURE_BODY: dict[str, Any] = {
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


class Query(BaseModel):
    """What may stand in a query; an unknown name is refused: `topk=3` is a typing error, no wish for 5."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str | None, Field(description="a served model's name; default: the default model")] = (
        None
    )


Q = TypeVar("Q", bound=Query)


def describe_query(query: type[Query]) -> list[dict[str, Any]]:
    """Describe a query for OpenAPI."""
    return [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in query.model_json_schema()["properties"].items()
    ]


def read_query(request: Request, query: type[Q]) -> Q:
    """Validate the query. Raises InvalidRequest that names each wrong parameter."""
    for name in request.query_params:
        if name not in query.model_fields:
            raise InvalidRequest(
                f"there is no query parameter {name[:60]!r}; there are {', '.join(query.model_fields)}",
                field=name[:60],
            )
    try:
        return query.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise from_pydantic(error.errors()) from None
