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
    blame; `errors` lists several. `retry_after_s` says when to come again, where the class's own is not it.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    retry_after_s: ClassVar[int | None] = None

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        errors: tuple[FieldError, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or ((FieldError(field, detail),) if field else ())
        self.retry_after = self.retry_after_s if retry_after_s is None else retry_after_s


class MalformedRequest(ServiceError):
    status, kind, title = 400, "malformed-request", "Malformed request"


class UndecodablePicture(ServiceError):
    status, kind, title = 400, "undecodable-picture", "Undecodable picture"


class Unauthorized(ServiceError):
    """No API key, or none that is known."""

    status, kind, title = 401, "unauthorized", "API key needed"


class UnknownModel(ServiceError):
    status, kind, title = 404, "unknown-model", "Unknown model"


class BodyTooSlow(ServiceError):
    status, kind, title = 408, "body-too-slow", "Request too slow"


class HeadTooSlow(ServiceError):
    status, kind, title = 408, "head-too-slow", "Request too slow"


class TooLarge(ServiceError):
    """Too many bytes, pixels or files."""

    status, kind, title = 413, "too-large", "Too large"


class UnsupportedType(ServiceError):
    status, kind, title = 415, "unsupported-type", "Unsupported media type"


class InvalidRequest(ServiceError):
    """The request was understood but a field of it is wrong."""

    status, kind, title = 422, "invalid-request", "Invalid request"


class RateLimited(ServiceError):
    """One client's quota is spent: 429 and not 503."""

    status, kind, title, retry_after_s = 429, "rate-limited", "Too many requests", 1


class HeadTooLarge(ServiceError):
    status, kind, title = 431, "head-too-large", "Request head too large"


class QueueFull(ServiceError):
    """The server is full: not one client's quota spent, so 503 and not 429."""

    status, kind, title, retry_after_s = 503, "queue-full", "Server is full", 1


class WaitedTooLong(ServiceError):
    """A request's turn did not come in time; it was not begun."""

    status, kind, title, retry_after_s = 503, "queue-timeout", "Waited too long", 1


class TooManyConnections(ServiceError):
    status, kind, title, retry_after_s = 503, "too-many-connections", "Too many connections", 1


class ShuttingDown(ServiceError):
    status, kind, title, retry_after_s = 503, "shutting-down", "Server is shutting down", 5


class Stuck(ServiceError):
    """A model does not come back from a batch."""

    status, kind, title = 503, "stuck", "A model is stuck"


class TookTooLong(ServiceError):
    status, kind, title, retry_after_s = 503, "took-too-long", "Took too long", 5


class StartError(Exception):
    """What stops the start, in one sentence; never an answer."""


class ArtefactError(StartError):
    """A model file that cannot be served. Names the file."""
