"""Read a call of `/convolve` or `/pool`, JSON or .npy with a query, into validated fields."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from service.errors import InvalidRequest, MalformedRequest, UnsupportedType
from service.matrices.buffers import Bytes
from service.matrices.npy import NPY, read_npy
from service.matrices.numbers import brief
from service.matrices.requests import ImageFields, read_fields
from service.matrices.streams import LARGE_BYTES, Unreadable, count, read_object

Body = TypeVar("Body", bound=ImageFields)
JSON = "application/json"

# Read whole, each takes 30 times the three bytes that it is sent in: 30 MB of empty ones took 880 MB.
DEEPEST = 1024  # levels; where orjson stops
MOST_LISTS = 2**20


@dataclass(slots=True)
class Call:
    """A request as HTTP has it, taken off the event loop to be read."""

    body: Bytes
    content_type: str
    query: list[tuple[str, str]]
    accept: str

    def take_body(self) -> Bytes:
        """Give the body away: it may be 20 MB, and is not needed any more once it is read."""
        body, self.body = self.body, b""
        return body

    @property
    def wants_npy(self) -> bool:
        return NPY in self.accept.lower()


def read_call(call: Call, fields: type[Body], *, max_cells: int) -> tuple[Body, bool]:
    """Read the fields and whether `steps` are asked for. Raises ServiceErrors that name the field."""
    options = read_words(call.query)
    steps = options.pop("steps", False)
    if type(steps) is not bool:
        raise InvalidRequest(f"steps is {brief(steps)}; it has to be true or false", field="steps")
    if steps and call.wants_npy:
        raise InvalidRequest(f"steps are JSON, but Accept asks for {NPY}", field="steps")
    if _is_npy(call.content_type):
        if "image" in options:
            raise InvalidRequest("image is the body, not in the query", field="image")
        image = read_npy(call.take_body(), max_cells=max_cells)
        return read_fields(fields, options | {"image": image}), steps
    for name in options:
        raise InvalidRequest(
            f"there is no query parameter {brief(name)} beside steps: with JSON, fields are in the body",
            field=name[:64],
        )
    return _read_json(call.take_body(), fields, max_cells), steps


def read_words(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Read parameters of a query or a form: each value is JSON where it parses as such, else a word.

    `True` and `False` are what clients in Python write.
    """
    values: dict[str, Any] = {}
    for name, word in pairs:
        if name in values:
            raise InvalidRequest(f"{brief(name)} is given twice", field=name[:64])
        try:
            # Not orjson: this one reads NaN too, which is refused later with the place it is at.
            values[name] = json.loads(word.lower() if word in ("True", "False") else word)
        except (ValueError, RecursionError):
            values[name] = word
    return values


def _is_npy(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in ("", JSON) or media_type.endswith("+json"):
        return False
    if media_type == NPY:
        return True
    raise UnsupportedType(f"the Content-Type is {media_type[:100]}; send {JSON} or {NPY}")


def _read_json(body: Bytes, fields: type[Body], max_cells: int) -> Body:
    if len(body) >= LARGE_BYTES:
        with suppress(Unreadable):
            values = read_object(body, max_cells=max_cells)
            del body  # as large as two images, and there is work to be done
            return read_fields(fields, values)
        check_lists(body)
    try:
        values = orjson.loads(memoryview(body))
    except orjson.JSONDecodeError as error:
        _blame_a_number(body, fields)
        why = f"it is nested deeper than {DEEPEST:,} levels, the limit" if "depth" in error.msg else error
        raise MalformedRequest(f"the body is not JSON: {why}", field="body") from None
    return read_fields(fields, values)


def check_lists(body: Bytes) -> None:
    """Refuse what would be millions of objects: InvalidRequest. Brackets in texts count as well."""
    opened = sum(count(body, sign, 0, len(body)) for sign in b"[{")
    if opened > MOST_LISTS:
        raise InvalidRequest(
            f"the body has {opened:,} lists and objects; the limit is {MOST_LISTS:,}: send {NPY}",
            field="body",
        )


def _blame_a_number(body: Bytes, fields: type[Body]) -> None:
    """NaN, Infinity and 1e999 are no JSON; raise InvalidRequest that names the field with one."""
    try:
        values = json.loads(body[:])
    except (ValueError, RecursionError):
        return
    read_fields(fields, values)
