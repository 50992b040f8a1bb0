"""Read the numbers of a JSON tensor, nested or flat, a piece at a time: no other request waits for long.

A million numbers as Python objects are a list of 8 MB, made while nothing else in the process runs.
"""

import math
from collections.abc import Iterator

import numpy as np
import orjson
from numpy.typing import NDArray

from service.errors import InvalidRequest

PIECE_BYTES = 64 * 2**10
SCANNED_BYTES = 2**20
STRUCTURE = b"[],"
NOT_STRUCTURE = bytes(sorted(set(range(256)) - set(STRUCTURE)))
FLATTEN = bytes.maketrans(b"[]", b"  ")  # to spaces: without them `[1]2` would become 12


def read_numbers(text: bytes, shape: tuple[int, ...], field: str) -> NDArray[np.uint8]:
    """Read a JSON list of whole numbers from 0 to 255: flat, or nested as `shape` is; uint8 of that shape.

    Raises InvalidRequest that names `field`, and the first number to blame.
    """
    count = math.prod(shape)
    check_structure(text, shape, count, field)
    numbers = np.empty(count, np.uint8)
    done = 0
    for piece in cut(text.strip()):
        values = read_piece(piece.translate(FLATTEN), done, field)
        numbers[done : done + len(values)] = np.frombuffer(values, np.uint8)
        done += len(values)
    return numbers.reshape(shape)


def check_structure(text: bytes, shape: tuple[int, ...], count: int, field: str) -> None:
    """Hold brackets and commas to the shape's: then there are as many numbers, each in its place."""
    found = b"".join(
        text[at : at + SCANNED_BYTES].translate(None, NOT_STRUCTURE)
        for at in range(0, len(text), SCANNED_BYTES)
    )
    listed = found.count(b",") + 1
    if listed == count and (found == b"[" + b"," * (count - 1) + b"]" or found == nest(shape)):
        return
    form = list(shape)
    how = f"{listed:,}" if listed != count else "differently nested"
    raise InvalidRequest(
        f"{field} has to be {count:,} numbers in one list, or lists nested as the shape {form} says;"
        f" it is {how}",
        field=field,
    )


def nest(shape: tuple[int, ...]) -> bytes:
    """Give the brackets and commas of a nested list."""
    inner = b""
    for length in reversed(shape):
        inner = b"[" + b",".join([inner] * length) + b"]"
    return inner


def cut(text: bytes) -> Iterator[bytes]:
    """Cut a text after numbers; the commas between the pieces are left out."""
    at = 0
    while (comma := text.find(b",", at + PIECE_BYTES)) >= 0:
        yield text[at:comma]
        at = comma + 1
    yield text[at:]


def read_piece(plain: bytes, before: int, field: str) -> bytes:
    """Read numbers with commas between them, `before` of the tensor's being read already."""
    try:
        values = orjson.loads(b"[" + plain + b"]")
        if b"e" not in plain:  # true and false are numbers to Python
            return bytes(values)
    except (ValueError, TypeError):  # no JSON (NaN is none), out of range, a fraction, a text
        pass
    for place, word in enumerate(plain.split(b",")):
        number = word.strip()
        if not number.isdigit() or len(number) > 3 or int(number) > 255 or number != b"%d" % int(number):
            shown = number[:40].decode(errors="replace") or "missing"
            raise InvalidRequest(
                f"{field}: number {before + place:,} is {shown}; UINT8 is a whole number from 0 to 255",
                field=field,
            )
    raise InvalidRequest(f"{field} is not JSON", field=field)  # spaces that JSON does not have, say
