"""Take the uploaded pictures out of a request: a multipart field, or the body itself.

The body is in memory by then, so its parts are cut out of it. For a small picture Starlette's form, with a
temporary file and two tasks a part, takes 75 µs, python-multipart's parser alone 13, and a form of one file,
as nearly every client writes it, is cut in 3: with other work beside it, 39 of 201 a request.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from service.errors import InvalidRequest, MalformedRequest, TooLarge, UnsupportedType
from service.images import check_picture_type

MULTIPART = "multipart/form-data"
MAX_FIELDS = 32
MAX_FIELD_BYTES = 2**20  # of one text field
MAX_HEADERS = 8  # of one part; clients write two
MAX_HEADER_BYTES = 4096

BOUNDARY = re.compile(r'multipart/form-data; *boundary=("?)([A-Za-z0-9_+.-]{1,70})\1', re.IGNORECASE)
# No quoted character, no parameter or header beside these: the parser is there for those.
ONE_FILE = re.compile(
    rb'Content-Disposition: form-data; name="([\w-]+)"; filename="([\w .()-]*)"\r\n'
    rb"(?:Content-Type: ([\w/.+-]+)\r\n)?\r\n",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Part:
    """One field of a form; a file has a `filename`, be it an empty one."""

    name: str = ""
    filename: str | None = None
    content_type: str | None = None
    data: bytes = b""

    @property
    def text(self) -> str:
        return decode(self.data)


@dataclass(slots=True)
class FormReader:
    """Collects parts as the parser comes upon them."""

    max_files: int
    parts: list[Part] = field(default_factory=list)
    headers: dict[bytes, bytes] = field(default_factory=dict)
    header: bytes = b""
    value: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    complete: bool = False

    def begin_part(self) -> None:
        self.headers, self.pieces = {}, []

    def take_header(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]

    def take_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def end_header(self) -> None:
        self.headers[self.header.lower()] = self.value
        self.header = self.value = b""

    def end_headers(self) -> None:
        _, options = parse_options_header(self.headers.get(b"content-disposition"))
        if b"name" not in options:
            raise MalformedRequest("the form cannot be read: a part has no name in its Content-Disposition")
        filename, kind = options.get(b"filename"), self.headers.get(b"content-type")
        self.parts.append(
            Part(
                decode(options[b"name"]),
                None if filename is None else decode(filename),
                None if kind is None else decode(kind),
            )
        )
        self.check_count(is_file=filename is not None)

    def check_count(self, *, is_file: bool) -> None:
        alike = sum((part.filename is not None) is is_file for part in self.parts)
        if alike > (self.max_files if is_file else MAX_FIELDS):
            limit = f"{self.max_files} files" if is_file else f"{MAX_FIELDS} text fields"
            raise TooLarge(f"the form has more than {limit}, the limit")

    def take_data(self, data: bytes, start: int, end: int) -> None:
        self.pieces.append(data[start:end])

    def end_part(self) -> None:
        part = self.parts[-1]
        part.data = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        if part.filename is None and len(part.data) > MAX_FIELD_BYTES:
            raise TooLarge(
                f"the text field {part.name[:60]!r} is {len(part.data):,} bytes; the limit is"
                f" {MAX_FIELD_BYTES:,} bytes"
            )

    def end(self) -> None:
        self.complete = True


def decode(text: bytes) -> str:
    """Read a name or a text of a form: UTF-8, or what any byte can be where it is none."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


async def read_form(request: Request, max_files: int = 4) -> list[Part]:
    """Read a multipart body. Raises UnsupportedType for any other, MalformedRequest, TooLarge."""
    content_type = request.headers.get("content-type", "")
    if not is_multipart(content_type):
        raise UnsupportedType(f"the Content-Type is {content_type[:100] or 'none'}; send {MULTIPART}")
    return parse_form(await request.body(), content_type, max_files)


def is_multipart(content_type: str) -> bool:
    """Say whether a body of this type is a form with files."""
    return content_type[: len(MULTIPART)].lower() == MULTIPART


def parse_form(body: bytes, content_type: str, max_files: int) -> list[Part]:
    """Cut a whole multipart body (RFC 7578) into its parts. Raises MalformedRequest, TooLarge."""
    part = cut_one_file(body, content_type)
    return [part] if part else parse_parts(body, content_type, max_files)


def cut_one_file(body: bytes, content_type: str) -> Part | None:
    """Cut the file out of a form of that alone, without more in any header than needed; None for others."""
    boundary = BOUNDARY.fullmatch(content_type)
    if boundary is None:
        return None
    delimiter = b"--" + boundary[2].encode()
    start = len(delimiter) + 2
    head = ONE_FILE.match(body, start)
    if head is None or body[:start] != delimiter + b"\r\n":
        return None
    end = body.find(b"\r\n" + delimiter, head.end())
    if end < 0 or body[end + 2 + len(delimiter) :] not in (b"--", b"--\r\n"):
        return None
    name, filename, kind = head.groups()
    return Part(name.decode(), filename.decode(), kind.decode() if kind else None, body[head.end() : end])


def parse_parts(body: bytes, content_type: str, max_files: int) -> list[Part]:
    """Cut any multipart body into its parts."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedRequest("the form cannot be read: its Content-Type has no boundary")
    reader = FormReader(max_files)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": reader.begin_part,
                "on_header_field": reader.take_header,
                "on_header_value": reader.take_value,
                "on_header_end": reader.end_header,
                "on_headers_finished": reader.end_headers,
                "on_part_data": reader.take_data,
                "on_part_end": reader.end_part,
                "on_end": reader.end,
            },
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )
        parser.write(body)
        parser.finalize()
        if not reader.complete:
            raise FormParserError
    except FormParserError as error:
        if "header" in str(error) and "exceeded" in str(error):
            raise TooLarge(
                f"part {len(reader.parts) + 1} of the form has more headers or longer ones than the limit:"
                f" {MAX_HEADERS} headers of {MAX_HEADER_BYTES:,} bytes"
            ) from None
        raise MalformedRequest(
            "the form cannot be read: it is not multipart/form-data, or cut short"
        ) from None
    return reader.parts


async def read_picture(request: Request) -> bytes:
    """Give the bytes of the one picture of a request: field `file`, or a raw body.

    Raises InvalidRequest where there is none, UnsupportedType where it is declared to be no picture.
    """
    content_type = request.headers.get("content-type", "")
    if is_multipart(content_type):
        return one_file(await read_form(request))
    check_picture_type(content_type)
    data = await request.body()
    if not data:
        raise InvalidRequest(
            "no picture: send it as the multipart field `file`, or as the body", field="file"
        )
    return data


def one_file(form: Iterable[Part]) -> bytes:
    """Give the bytes of the form's field `file`."""
    found = [part for part in form if part.name == "file"]
    if len(found) > 1:
        raise InvalidRequest("the multipart field `file` is given twice; send one picture", field="file")
    if not found or found[0].filename is None:
        how = "is text; send it as a file (curl -F file=@cat.jpg)" if found else "is missing"
        raise InvalidRequest(f"the multipart field `file` {how}", field="file")
    check_picture_type(found[0].content_type)
    return found[0].data


def many_files(form: Iterable[Part]) -> list[Part]:
    """Give the form's files named `files`, in the order sent. Raises InvalidRequest for none."""
    files = [part for part in form if part.name == "files" and part.filename is not None]
    if not files:
        raise InvalidRequest("no pictures: repeat the multipart field `files`", field="files")
    return files
