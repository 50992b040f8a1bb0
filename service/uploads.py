"""Take the uploaded pictures out of a request: a multipart field, or the body itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from service.errors import InvalidRequest, MalformedRequest, TooLarge, UnsupportedType
from service.images import check_picture_type

MULTIPART = "multipart/form-data"
MAX_FIELDS = 32


@asynccontextmanager
async def read_form(request: Request, max_files: int = 4) -> AsyncIterator[FormData]:
    """Parse a multipart body; its files are closed afterwards. Raises UnsupportedType for any other body."""
    if not is_multipart(request):
        given = request.headers.get("content-type") or "none"
        raise UnsupportedType(f"the Content-Type is {given[:100]}; send {MULTIPART}")
    try:
        form = await request.form(max_files=max_files, max_fields=MAX_FIELDS)
    except HTTPException as error:  # Starlette's one for all that its parser refuses
        if error.detail.startswith("Too many"):
            limit = f"{max_files} files" if "files" in error.detail else f"{MAX_FIELDS} text fields"
            raise TooLarge(f"the form has more than {limit}, the limit") from None
        raise MalformedRequest(f"the form cannot be read: {error.detail}") from None
    try:
        yield form
    finally:
        await form.close()


def is_multipart(request: Request) -> bool:
    """Say whether the body is a form with files."""
    return request.headers.get("content-type", "").lower().startswith(MULTIPART)


async def read_picture(request: Request) -> bytes:
    """Give the bytes of the one picture of a request: field `file`, or a raw body.

    Raises InvalidRequest where there is none, UnsupportedType where it is declared to be no picture.
    """
    if is_multipart(request):
        async with read_form(request) as form:
            return await one_file(form)
    check_picture_type(request.headers.get("content-type"))
    data = await request.body()
    if not data:
        raise InvalidRequest(
            "no picture: send it as the multipart field `file`, or as the body", field="file"
        )
    return data


async def one_file(form: FormData) -> bytes:
    """Give the bytes of the form's field `file`."""
    if len(form.getlist("file")) > 1:
        raise InvalidRequest("the multipart field `file` is given twice; send one picture", field="file")
    upload = form.get("file")
    if not isinstance(upload, UploadFile):
        how = "is text; send it as a file (curl -F file=@cat.jpg)" if upload is not None else "is missing"
        raise InvalidRequest(f"the multipart field `file` {how}", field="file")
    check_picture_type(upload.content_type)
    return await upload.read()


def many_files(form: FormData) -> list[UploadFile]:
    """Give the form's files named `files`, in the order sent. Raises InvalidRequest for none."""
    uploads = [upload for upload in form.getlist("files") if isinstance(upload, UploadFile)]
    if not uploads:
        raise InvalidRequest("no pictures: repeat the multipart field `files`", field="files")
    return uploads
