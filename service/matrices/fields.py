"""The types of fields that take a matrix, a filter, a padding: how each is read, and its JSON schema."""

from difflib import get_close_matches
from typing import Annotated, Any, TypeGuard

import numpy as np
from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema

from service.arithmetic.filters import CATALOGUE
from service.arithmetic.geometry import Padding, Pair
from service.arithmetic.windows import Array
from service.matrices.numbers import NUMBERS, brief, to_array

# More cells than any limit could allow, and still an index that NumPy takes.
LARGEST = 2**31 - 1
# More than any layer has; a few bytes, a name, are turned into a matrix each.
MOST_FILTERS = 4096


def _rows(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


NUMBER = {"type": "number"}
FLAT, DEEP = _rows(_rows(NUMBER)), _rows(_rows(_rows(NUMBER)))
MATRIX = {"anyOf": [FLAT, DEEP]}
NAMED_OR_MATRIX = {"anyOf": [{"type": "string", "enum": list(CATALOGUE)}, FLAT, DEEP]}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [*schema.get("anyOf", [schema]), {"type": "null"}]}


def _whole(low: int, lengths: tuple[int, ...]) -> dict[str, Any]:
    one: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": LARGEST}
    lists = [{"type": "array", "items": one, "minItems": n, "maxItems": n} for n in lengths]
    return {"anyOf": [one, *lists]}


def read_image(value: object, info: ValidationInfo) -> Array:
    if isinstance(value, np.ndarray):  # a .npy body or a picture, checked where it was read
        return value
    return to_array(value, str(info.field_name))


def read_filter(value: object, info: ValidationInfo) -> Array | None:
    return None if value is None else _named_or_matrix(value, str(info.field_name))


def read_filters(value: object) -> Array | None:
    """Stack a list of filters, all of one size, into an array with one axis more."""
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise ValueError("filters has to be a list of filters, at least one")
    if len(value) > MOST_FILTERS:
        raise ValueError(f"filters are {len(value)}; the limit is {MOST_FILTERS}")
    filters = [_named_or_matrix(item, f"filters[{place}]") for place, item in enumerate(value)]
    first = filters[0].shape
    for place, array in enumerate(filters):
        if array.shape != first:
            sizes = ("×".join(map(str, shape)) for shape in (array.shape, first))
            raise ValueError(
                "filters[{}] is {} but filters[0] is {}: all are of one size".format(place, *sizes)
            )
    return np.stack(filters)


def _named_or_matrix(value: object, name: str) -> Array:
    if not isinstance(value, str):
        return to_array(value, name)
    if value in CATALOGUE:
        return np.array(CATALOGUE[value].matrix, dtype=np.float64)
    close = get_close_matches(value[:40], CATALOGUE, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ValueError(f"{name}: there is no filter {brief(value)}; {hint}GET /filters lists them")


def read_padding(value: object) -> Padding:
    if value in ("valid", "same", "full"):
        return value
    if _is_cells(value, 0):
        return value
    if isinstance(value, list) and len(value) in (2, 4) and all(_is_cells(n, 0) for n in value):
        return tuple(value)
    raise ValueError(
        f'padding is {brief(value)}; it has to be "valid", "same", "full", an integer,'
        f" [vertical, horizontal] or [top, bottom, left, right], each from 0 to {LARGEST}"
    )


def read_pair(value: object, info: ValidationInfo) -> Pair:
    if _is_cells(value, 1):
        return value, value
    if isinstance(value, list) and len(value) == 2 and all(_is_cells(n, 1) for n in value):
        return value[0], value[1]
    raise ValueError(
        f"{info.field_name} is {brief(value)};"
        f" it has to be an integer or [vertical, horizontal], each from 1 to {LARGEST}"
    )


def _is_cells(value: object, low: int) -> TypeGuard[int]:
    return type(value) is int and low <= value <= LARGEST  # 1.0 is refused, and true is not 1


def read_bias(value: object) -> float | tuple[float, ...]:
    if isinstance(value, list):
        if len(value) > MOST_FILTERS:
            raise ValueError(f"bias has {len(value):,} numbers; the limit is {MOST_FILTERS:,}, one a filter")
        return tuple(to_array(value, "bias", axes=(1,)).tolist())
    if type(value) not in NUMBERS:
        raise ValueError(f"bias is {brief(value)}; it has to be a number, or a list of one a filter")
    return float(to_array([value], "bias", axes=(1,))[0])


Image = Annotated[Array, PlainValidator(read_image), WithJsonSchema(MATRIX)]
OneFilter = Annotated[Array | None, PlainValidator(read_filter), WithJsonSchema(_or_null(NAMED_OR_MATRIX))]
Filters = Annotated[
    Array | None,
    PlainValidator(read_filters),
    WithJsonSchema(_or_null(_rows(NAMED_OR_MATRIX) | {"maxItems": MOST_FILTERS})),
]
Cells = Annotated[
    Padding,
    PlainValidator(read_padding),
    WithJsonSchema({"anyOf": [{"enum": ["valid", "same", "full"]}, *_whole(0, (2, 4))["anyOf"]]}),
]
Pairs = Annotated[Pair, PlainValidator(read_pair), WithJsonSchema(_whole(1, (2,)))]
Bias = Annotated[
    float | tuple[float, ...],
    PlainValidator(read_bias),
    WithJsonSchema({"anyOf": [NUMBER, _rows(NUMBER)]}),
]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
