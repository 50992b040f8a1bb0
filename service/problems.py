"""Turn any error into application/problem+json (RFC 9457): one table's worth of rules, one handler."""

import http
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from service.errors import FieldError, InvalidRequest, QueueFull, ServiceError

MEDIA_TYPE = "application/problem+json"


class ProblemField(BaseModel):
    """One field of the request and what is wrong with it."""

    field: Annotated[str, Field(examples=["top_k"])]
    detail: Annotated[str, Field(examples=["must be at most 10, the model's number of classes; got 99"])]


class Problem(BaseModel):
    """An error, as RFC 9457 has it."""

    type: Annotated[str, Field(examples=["urn:stride:problem:invalid-request"])]
    title: Annotated[str, Field(examples=["Invalid request"])]
    status: Annotated[int, Field(examples=[422])]
    detail: Annotated[
        str, Field(examples=["top_k must be at most 10, the model's number of classes; got 99"])
    ]
    errors: Annotated[
        list[ProblemField] | None, Field(description="field by field, where fields are to blame")
    ] = None


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe a route's errors for OpenAPI: `responses=problem_responses(400, 413)`."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        status: {"description": http.HTTPStatus(status).phrase, "content": content} for status in statuses
    }


def as_problem(error: Exception) -> dict[str, Any]:
    """Describe an error without a word about the inside of the server."""
    match error:
        case RequestValidationError():
            return as_problem(from_pydantic(error.errors()))
        case ServiceError():
            return problem(error.kind, error.title, error.status, error.detail, error.errors)
        case HTTPException():
            phrase = http.HTTPStatus(error.status_code).phrase
            detail = error.detail if error.detail != phrase else PHRASES.get(error.status_code, phrase)
            return problem(phrase.lower().replace(" ", "-"), phrase, error.status_code, detail)
        case _:
            title, detail = (
                ServiceError.title,
                "internal error; the log has it under this answer's X-Request-ID",
            )
            return problem(ServiceError.kind, title, 500, detail)


PHRASES = {
    404: "there is nothing at this address; GET /docs lists what there is",
    405: "this address does not take this method; see the Allow header",
}


def problem(
    kind: str, title: str, status: int, detail: str, errors: Iterable[FieldError] = ()
) -> dict[str, Any]:
    """Build the body."""
    body: dict[str, Any] = {
        "type": f"urn:stride:problem:{kind}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    listed = [error._asdict() for error in errors]
    return body | {"errors": listed} if listed else body


def from_pydantic(errors: Iterable[Mapping[str, Any]]) -> InvalidRequest:
    """Make one InvalidRequest of pydantic's list: the field without `query` or `body` before it."""
    fields = []
    for error in errors:
        path = [str(part) for part in error["loc"] if part not in {"query", "body", "path", "header"}]
        given = error.get("input")
        shown = f"; got {given}" if isinstance(given, str | int | float) and len(str(given)) <= 60 else ""
        fields.append(FieldError(".".join(path) or "body", f"{error['msg']}{shown}"))
    return InvalidRequest("; ".join(f"{e.field}: {e.detail}" for e in fields), errors=tuple(fields))


def answer_error(error: Exception, scope: Scope) -> Response:
    """Answer a request with an error in the form of its address, and note its kind for the metrics."""
    if isinstance(error, ServiceError):
        scope.setdefault("state", {})["refusal"] = error.kind
    return problem_response(error, is_open_inference=is_open_inference(scope))


# What the Open Inference Protocol has no word for is a bad request there.
OPEN_INFERENCE_STATUSES = {415: 400, 422: 400}


def own_path(scope: Scope) -> str:
    """Give a request's path without the prefix that a proxy puts before the service's addresses."""
    path: str = scope.get("path", "")
    return path.removeprefix(scope.get("app_root_path", scope.get("root_path", "")))


def is_open_inference(scope: Scope) -> bool:
    """Say whether a request is one of the Open Inference Protocol, which has its own form of errors."""
    path = own_path(scope)
    return path == "/v2" or path.startswith("/v2/")


def problem_response(error: Exception, *, is_open_inference: bool = False) -> Response:
    """Describe an error as a response."""
    body = as_problem(error)
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException) and error.headers:
        headers.update(error.headers)
    if isinstance(error, ServiceError) and error.retry_after:
        headers["Retry-After"] = str(error.retry_after)
    if is_open_inference:
        status = OPEN_INFERENCE_STATUSES.get(body["status"], body["status"])
        return Response(orjson.dumps({"error": body["detail"]}), status, headers, "application/json")
    return Response(orjson.dumps(body), body["status"], headers, MEDIA_TYPE)


async def handle(request: Request, error: Exception) -> Response:
    """The one handler."""
    if isinstance(error, QueueFull):
        raise error  # to the layers around, which let its body go and hold the answer back
    return answer_error(error, request.scope)
