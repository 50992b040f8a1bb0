"""Hostile requests, all made by code: what is sent where, gathered from the files beside this one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

MEGABYTE = 2**20
BOUNDARY = "XyZ"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
JSON = "application/json"
NPY = "application/x-npy"


@dataclass(frozen=True)
class Case:
    """One request. `says` is what an answer other than 200 has to hold: the limit, the value."""

    name: str
    path: str
    make: Callable[[], bytes]
    content_type: str = "application/octet-stream"
    says: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.path.partition('?')[0]} {self.name}"


def form(*parts: bytes, end: bytes = b"--XyZ--\r\n") -> bytes:
    """Write a multipart body of whole parts, each its headers, an empty line and its data."""
    return b"".join(b"--XyZ\r\n" + part + b"\r\n" for part in parts) + end


def file_part(data: bytes, name: bytes = b"file", filename: bytes = b"a b;c.png") -> bytes:
    """Write a part with a file; its name is one that the parser has to read."""
    return b'Content-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s' % (name, filename, data)


def text_part(name: bytes, text: bytes) -> bytes:
    """Write a part with a text."""
    return b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (name, text)


Made = tuple[str, Callable[[], bytes], str]  # name, the maker of the bytes, what a refusal says


def picture_cases(pictures: list[Made]) -> Iterator[Case]:
    """Send each picture to `/predict` and to two more endpoints in turn."""
    for place, (name, make, says) in enumerate(pictures):
        others = (
            Case(name, "/layers?maps=false", make, says=says),
            Case(name, "/explain", make, says=says),
            Case(name, "/layers/conv1", make),
            Case(name, "/predict/batch", lambda make=make: form(file_part(make(), b"files")), FORM),
            Case(name, "/convolve/image", lambda make=make: filtered(make()), FORM),
        )
        turn = place % len(others)
        yield from (Case(name, "/predict", make, says=says), others[turn], others[turn - 2])


def filtered(picture: bytes) -> bytes:
    """Write the form of `/convolve/image` with a picture."""
    return form(file_part(picture), text_part(b"filter", b"identity"))
