"""Read the numbers of a JSON tensor, nested or flat, a piece at a time: no other request waits for long.

A million numbers as Python objects are a list of 8 MB, made while nothing else in the process runs.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from service.errors import InvalidRequest
from service.matrices.buffers import Bytes

PIECE_BYTES = 64 * 2**10
MAX_PIECE_BYTES = 2**20  # there is no more blank space between two numbers
SCANNED_BYTES = 2**20
STRUCTURE = b"[],"
NOT_STRUCTURE = bytes(sorted(set(range(256)) - set(STRUCTURE)))
FLATTEN = bytes.maketrans(b"[]", b"  ")  # to spaces: without them `[1]2` would become 12


class Span(NamedTuple):
    """A list in a text: text[start:stop], not copied."""

    text: Bytes
    start: int
    stop: int


def read_numbers(span: Span, shape: tuple[int, ...], field: str) -> NDArray[np.uint8]:
    """Read a JSON list of whole numbers from 0 to 255: flat, or nested as `shape` is; uint8 of that shape.

    Raises InvalidRequest that names `field`, and the first number to blame.
    """
    count = math.prod(shape)
    check_structure(span, shape, count, field)
    numbers = np.empty(count, np.uint8)
    done = 0
    for piece in cut(span):
        if len(piece) > MAX_PIECE_BYTES:
            raise InvalidRequest(
                f"{field}: number {done:,} is written in more than {MAX_PIECE_BYTES:,} bytes, the limit",
                field=field,
            )
        values = read_piece(piece.translate(FLATTEN), done, field)
        numbers[done : done + len(values)] = np.frombuffer(values, np.uint8)
        done += len(values)
    return numbers.reshape(shape)


def check_structure(span: Span, shape: tuple[int, ...], count: int, field: str) -> None:
    """Hold brackets and commas to the shape's: then there are as many numbers, each in its place."""
    found = b"".join(
        span.text[at : min(at + SCANNED_BYTES, span.stop)].translate(None, NOT_STRUCTURE)
        for at in range(span.start, span.stop, SCANNED_BYTES)
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


def cut(span: Span) -> Iterator[bytes]:
    """Cut a list after numbers; a piece that is too long is cut short, to be refused."""
    text, at, stop = span
    while (comma := text.find(b",", min(at + PIECE_BYTES, stop), stop)) >= 0:
        yield text[at : min(comma, at + MAX_PIECE_BYTES + 1)]
        at = comma + 1
    yield text[at : min(stop, at + MAX_PIECE_BYTES + 1)]


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
