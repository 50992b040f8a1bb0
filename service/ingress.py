"""Stand before a proxy that takes any body and answers in its own words, such as Ray Serve's.

Ray calls `layers` in each of its proxies where RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH is
`service.ingress:layers`. Loads no models and no torch: a proxy stays small.
"""

import asyncio
import logging
import os
import time
from http import HTTPStatus

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooSlow, QueueFull, ServiceError, TookTooLong, TooLarge
from service.middleware import POLICY, SNIFFING, Buffered, declared_length
from service.problems import answer_error
from service.request_state import choose_id
from service.settings import load_settings

log = logging.getLogger("service")
GONE: Message = {"type": "http.disconnect"}
OWN_MARK = b"server-timing"  # every answer of the application has it, none of the proxy's
ID = b"x-request-id"
PROXYS_OWN = ("/-/healthz", "/-/routes")  # whatever else begins so is the application's
# By these a caller would tell the proxy how long to wait, or which replica to ask.
COMMANDS = (b"x-request-timeout-", b"x-request-disconnect-", b"x-serve-", b"serve-multiplexed-")


class ReplicaLost(ServiceError):
    """Whoever had the request gave no answer: gone, most likely, and nobody knows how far it had come."""

    status, kind, title, retry_after_s = 503, "replica-lost", "Replica lost", 1


class NotServed(ServiceError):
    """The proxy runs; the application is not deployed, or no more."""

    status, kind, title, retry_after_s = 503, "not-served", "Not served", 5


def layers() -> list[Middleware]:
    """List what each proxy puts around itself, from the STRIDE_* environment of its machine."""
    settings = load_settings()
    # uvicorn reads it next. It would believe X-Forwarded-For from this machine, where HAProxy is, which
    # passes on whatever a caller writes: anybody could name another address than their own.
    os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    return [
        Middleware(
            Ingress,
            max_body_bytes=settings.max_body_bytes,
            body_timeout_s=settings.body_timeout_s,
            buffered=Buffered(settings.max_buffered_bytes),
        )
    ]


class Ingress:
    """Hold bodies to their size and time before they go on; give every answer one id and one form."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, body_timeout_s: float, buffered: Buffered) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.body_timeout_s = body_timeout_s
        self.buffered = buffered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROXYS_OWN:
            await self.app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == ID), b"")
        kept = [(name, value) for name, value in scope["headers"] if not is_command(name)]
        answer = Answer(choose_id(given), send)
        scope["headers"] = [*kept, (ID, answer.id)]
        body = Body(self, declared_length(scope), receive)
        error: Exception | None = body.refuse_declared()
        try:
            if error is None:
                await self.app(scope, body.receive, answer.pass_on)
        except Exception as raised:
            if answer.is_begun:
                raise
            log.exception("internal error", extra={"request_id": answer.id.decode()})
            error = raised
        finally:
            self.buffered.held -= body.seen
        if not answer.is_begun:
            await answer_error(body.refusal or error or answer.error(), scope)(scope, receive, answer.finish)


def is_command(name: bytes) -> bool:
    """Say whether a header is the request's id, or meant for the proxy itself."""
    return name == ID or name.replace(b"_", b"-").startswith(COMMANDS)


class Body:
    """A body on its way in. Once it is refused, the proxy sees a client that has gone, and stops."""

    def __init__(self, ingress: Ingress, declared: int, receive: Receive) -> None:
        self.ingress = ingress
        self.declared = declared
        self.receive_next = receive
        self.ends_at = asyncio.get_running_loop().time() + ingress.body_timeout_s
        self.refusal: ServiceError | None = None
        self.is_whole = False
        self.seen = 0

    async def receive(self) -> Message:
        if self.refusal:
            return GONE
        if self.is_whole:
            return await self.receive_next()
        try:
            async with asyncio.timeout_at(self.ends_at):
                message = await self.receive_next()
        except TimeoutError:
            limit_s = self.ingress.body_timeout_s
            return self.refuse(BodyTooSlow(f"the body did not arrive in {limit_s:g} s, the limit"))
        size = len(message.get("body", b""))
        self.is_whole = not message.get("more_body", False)
        self.seen += size
        buffered = self.ingress.buffered
        buffered.held += size
        if self.seen > self.ingress.max_body_bytes:
            return self.refuse(self.too_large(f"{self.seen:,} bytes or more"))
        if buffered.held > buffered.most:
            return self.refuse(
                QueueFull(
                    f"the bodies of all requests are {buffered.held:,} bytes;"
                    f" the limit is {buffered.most:,} bytes; try again in 1 s"
                )
            )
        return message

    def refuse(self, error: ServiceError) -> Message:
        self.refusal = error
        return GONE

    def refuse_declared(self) -> ServiceError | None:
        """Refuse a body that says itself that it is too large, before a byte of it is taken."""
        if self.declared > self.ingress.max_body_bytes:
            self.refusal = self.too_large(f"{self.declared:,} bytes")
        return self.refusal

    def too_large(self, size: str) -> TooLarge:
        return TooLarge(f"the body is {size}; the limit is {self.ingress.max_body_bytes:,} bytes")


class Answer:
    """An answer on its way out: the application's goes on, with one id; the proxy's own is held back."""

    def __init__(self, given: str, send: Send) -> None:
        self.id = given.encode()
        self.send = send
        self.began = time.perf_counter()
        self.is_begun = False
        self.refused_with = 0  # the status of the proxy's own answer

    async def pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name.lower(), value) for name, value in message["headers"]]
            if not any(name == OWN_MARK for name, _ in headers):
                self.refused_with = message["status"]
                return
            message["headers"] = [*(pair for pair in headers if pair[0] != ID), (ID, self.id)]
            self.is_begun = True
        if self.is_begun:
            await self.send(message)

    async def finish(self, message: Message) -> None:
        """Send an answer of one's own, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            total = f"total;dur={(time.perf_counter() - self.began) * 1000:.2f}"
            message["headers"] += [SNIFFING, POLICY, (ID, self.id), (OWN_MARK, total.encode())]
        await self.send(message)

    def error(self) -> ServiceError:
        """Say what the proxy means by its status, or by no answer at all."""
        match self.refused_with:
            case HTTPStatus.NOT_FOUND:
                return NotServed("nothing is deployed here; try again in 5 s")
            case HTTPStatus.REQUEST_TIMEOUT:
                return TookTooLong("no replica answered in the proxy's time; try again in 5 s")
            case HTTPStatus.SERVICE_UNAVAILABLE | HTTPStatus.TOO_MANY_REQUESTS:
                return QueueFull("no replica is free, and as many wait as may; try again in 1 s")
            case _:
                return ReplicaLost("the replica that had this request gave no answer; send it again")
