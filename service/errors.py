"""The errors a caller can meet, each class with its status. Standard library only."""

from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """One field of a request and what is wrong with it."""

    field: str
    detail: str


class ServiceError(Exception):
    """An error with a status and a sentence for the caller.

    `detail` says what is wrong, the actual value and the limit or the remedy; it is sent as it is, so
    it never holds a path, a traceback or a value of somebody else's. `field` names the one field to
    blame; `errors` lists several.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, detail: str, *, field: str | None = None, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or ((FieldError(field, detail),) if field else ())


class MalformedRequest(ServiceError):
    status, kind, title = 400, "malformed-request", "Malformed request"


class UndecodablePicture(ServiceError):
    status, kind, title = 400, "undecodable-picture", "Undecodable picture"


class UnknownModel(ServiceError):
    status, kind, title = 404, "unknown-model", "Unknown model"


class TooLarge(ServiceError):
    """Too many bytes, pixels or files."""

    status, kind, title = 413, "too-large", "Too large"


class UnsupportedType(ServiceError):
    status, kind, title = 415, "unsupported-type", "Unsupported media type"


class InvalidRequest(ServiceError):
    """The request was understood but a field of it is wrong."""

    status, kind, title = 422, "invalid-request", "Invalid request"


class QueueFull(ServiceError):
    """The server is full: not one client's quota spent, so 503 and not 429."""

    status, kind, title, retry_after_s = 503, "queue-full", "Server is full", 1


class ShuttingDown(ServiceError):
    status, kind, title, retry_after_s = 503, "shutting-down", "Server is shutting down", 5


class TookTooLong(ServiceError):
    status, kind, title, retry_after_s = 503, "took-too-long", "Took too long", 5


class ArtefactError(Exception):
    """A model file that cannot be served: stops the start, is never an answer. Names the file."""
