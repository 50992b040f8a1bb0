"""An inference request's body: unpacked where it is compressed, its JSON parted from the binary tensors."""

import random
import re
import zlib
from typing import Any, NamedTuple

import orjson

from service.errors import InvalidRequest, MalformedRequest, TooLarge, UnsupportedType
from service.matrices.buffers import Bytes
from service.open_inference.numbers import Span

# What is beside the numbers: names, shapes, parameters. More would be read while every other request waits.
MAX_HEADER_BYTES = 64 * 2**10
LENGTH_HEADER = "Inference-Header-Content-Length"
ENCODINGS = ("gzip", "deflate")
EITHER = 32 + zlib.MAX_WBITS  # zlib's word for gzip or deflate, whichever it is
PIECE_BYTES = 2**20
DATA = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
NOTHING = Span(b"", 0, 0)


class Body(NamedTuple):
    """A request as it came: its JSON with a placeholder for the numbers of `data`, those, what follows."""

    header: dict[str, Any]
    placeholder: str
    numbers: Span  # the first `data`, where it is a list without words
    binary: memoryview
    is_raw: bool = False  # the body is one tensor and nothing else


def unpack(body: Bytes, encoding: str, limit: int) -> Bytes:
    """Decompress a body, to `limit` bytes at most. Raises UnsupportedType, TooLarge, MalformedRequest."""
    encoding = encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in ENCODINGS:
        raise UnsupportedType(
            f"the Content-Encoding is {encoding[:60]}; send {', '.join(ENCODINGS)}, or none"
        )
    reader = zlib.decompressobj(EITHER)
    pieces: list[bytes] = []
    size, rest = 0, body
    try:
        while not reader.eof and (piece := reader.decompress(rest, PIECE_BYTES)):
            size += len(piece)
            if size > limit:
                raise TooLarge(
                    f"the body is {size:,} bytes or more, decompressed; the limit is {limit:,} bytes"
                )
            pieces.append(piece)
            rest = reader.unconsumed_tail
    except zlib.error:
        raise MalformedRequest(f"the body is not {encoding}, as its Content-Encoding says") from None
    if not reader.eof or reader.unused_data:
        how = "is followed by other bytes" if reader.eof else "is cut short"
        raise MalformedRequest(f"the compressed body {how}")
    return b"".join(pieces)


def part(body: Bytes, header_length: str | None) -> Body:
    """Part the JSON from the binary tensors by the length given (None: all is JSON; 0: all is one tensor)."""
    length = read_length(header_length, len(body))
    if length == 0 and header_length is not None:
        return Body({}, "", NOTHING, memoryview(body), is_raw=True)
    text = body[:length] if length < len(body) else body
    header, placeholder, numbers = set_aside(text)
    if type(header) is not dict:
        raise MalformedRequest("the request has to be a JSON object", field="body")
    return Body(header, placeholder, numbers, memoryview(body)[length:])


def read_length(given: str | None, most: int) -> int:
    if given is None:
        return most
    word = given.strip()
    if not (word.isascii() and word.isdigit()):
        raise InvalidRequest(f"{LENGTH_HEADER} is {word[:40]!r}, not a number of bytes", field=LENGTH_HEADER)
    if len(word) > 18 or int(word) > most:
        raise InvalidRequest(
            f"{LENGTH_HEADER} is {word[:40]}, but the body is {most:,} bytes", field=LENGTH_HEADER
        )
    return int(word)


def set_aside(text: Bytes) -> tuple[Any, str, Span]:
    """Read JSON with a placeholder for the list at the first key `data`; say where that list is."""
    found = DATA.search(text, 0, MAX_HEADER_BYTES)  # all before the list counts to that
    start = found.end() if found else 0
    # No number holds a quote or a brace: the list ends at the last bracket before the next of them.
    ends = [end for sign in (b'"', b"}") if (end := text.find(sign, start)) >= 0] if found else []
    stop = text.rfind(b"]", start, min(ends)) + 1 if ends else 0
    if stop <= start:
        return load(text), "", NOTHING
    check_size(start + len(text) - stop)
    placeholder = f"data {random.getrandbits(64)}"  # no caller can have sent it
    return load(text[:start] + orjson.dumps(placeholder) + text[stop:]), placeholder, Span(text, start, stop)


def check_size(size: int) -> None:
    if size > MAX_HEADER_BYTES:
        raise TooLarge(
            f"the JSON beside the numbers of `data` is {size:,} bytes;"
            f" the limit is {MAX_HEADER_BYTES:,} bytes"
        )


def load(text: Bytes) -> Any:
    check_size(len(text))
    try:
        return orjson.loads(memoryview(text))
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the request is not JSON: {error}", field="body") from None
