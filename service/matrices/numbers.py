"""Turn what JSON holds into arrays of numbers, and say which cell is wrong where it cannot be done."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from reprlib import Repr
from typing import Any

import numpy as np

from service.arithmetic.windows import Array

NUMBERS = {int, float}
WORDS = {bool: "a boolean", type(None): "null", str: "a string", list: "a list", dict: "an object"}

MOST_SHOWN = 80  # characters
_brief = Repr()
_brief.maxother = _brief.maxstring = 60
_brief.maxlevel, _brief.maxlist, _brief.maxdict = 2, 4, 2


def brief(value: object) -> str:
    """A value as JSON would show it, short however large it is."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "null"
    text = _brief.repr(value)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."


def to_array(value: object, name: str, *, axes: tuple[int, ...] = (2, 3)) -> Array:
    """Read lists in lists of numbers as a float64 array; by default rows, or rows of cells of numbers.

    `name` is the field's, `axes` how deep the lists may be. Raises ValueError that names the first
    list or number to blame: ragged, empty, too deep or too shallow, true or "1" where a number has to
    be, NaN or infinity.
    """
    items: list[Any] = [value]
    shape: tuple[int, ...] = ()
    while len(shape) < min(axes) or (len(shape) < max(axes) and type(items[0]) is list):
        shape = (*shape, _one_length(items, shape, name))
        items = list(chain.from_iterable(items))
    if not set(map(type, items)) <= NUMBERS:
        place = next(place for place, item in enumerate(items) if type(item) not in NUMBERS)
        raise ValueError(f"{path_of(name, shape, place)} is {_word(items[place])}, not a number")
    return _to_finite(items, shape, name)


def _one_length(lists: list[Any], shape: tuple[int, ...], name: str) -> int:
    """Check that all are lists, none empty, of one length, and return it."""
    if set(map(type, lists)) != {list}:
        place = next(place for place, item in enumerate(lists) if type(item) is not list)
        raise ValueError(f"{path_of(name, shape, place)} is {_word(lists[place])}, not a list")
    lengths = set(map(len, lists))
    if 0 in lengths:
        place = next(place for place, item in enumerate(lists) if not item)
        raise ValueError(f"{path_of(name, shape, place)} is empty")
    if len(lengths) > 1:
        first = len(lists[0])
        place = next(place for place, item in enumerate(lists) if len(item) != first)
        raise ValueError(
            f"{path_of(name, shape, place)} is {len(lists[place])} long"
            f" but {path_of(name, shape, 0)} is {first}: a matrix is not ragged"
        )
    return lengths.pop()


def _to_finite(items: list[Any], shape: tuple[int, ...], name: str) -> Array:
    try:
        array = _to_doubles(items)
    except OverflowError:
        place = next(place for place, item in enumerate(items) if abs(item) > sys.float_info.max)
        raise ValueError(f"{path_of(name, shape, place)} is too large for an IEEE double") from None
    finite = np.isfinite(array)
    if not finite.all():
        place = int(np.argmin(finite))
        raise ValueError(f"{path_of(name, shape, place)} is {array[place]}, not a finite number")
    return array.reshape(shape)


def _to_doubles(items: list[Any]) -> Array:
    with suppress(TypeError, ValueError):  # a picture's 0 to 255: a quarter of the time
        return np.frombuffer(bytes(items), np.uint8).astype(np.float64)
    return np.array(items, dtype=np.float64)


def path_of(name: str, shape: tuple[int, ...], place: int) -> str:
    """`image[2][4]`: where the item at `place` of a flattened array is."""
    indices: Iterable[Any] = np.unravel_index(place, shape) if shape else ()
    return name + "".join(f"[{index}]" for index in indices)


def _word(value: object) -> str:
    return WORDS.get(type(value), f"the number {brief(value)}")
