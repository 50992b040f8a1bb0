"""Wrap every request: an id, stage timings, headers, a log line; limits on body and time; no naked 500."""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import QueueFull, ServiceError, StartError, TookTooLong, TooLarge
from service.logs import log_request
from service.pacing import Pacer
from service.problems import answer_error
from service.request_state import CLIENT_CLOSED, RequestState, choose_id

log = logging.getLogger("service")

Endpoint = Callable[[Request], Awaitable[Response]]
CLOSE = (b"connection", b"close")
SNIFFING = (b"x-content-type-options", b"nosniff")
# For whatever is not a page: taken for one by mistake, it may do nothing.
POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


@dataclass(slots=True)
class Phase:
    """Whether the process is about to end: then connections are not kept, and probes are told."""

    draining: bool = False


class RequestContext:
    """The outermost layer, in plain ASGI: it costs microseconds and sees every answer."""

    def __init__(
        self,
        app: ASGIApp,
        phase: Phase,
        on_end: Callable[[Scope, RequestState], None],
        on_start: Callable[[], None],
        timings: Callable[[], dict[str, float]] = dict,
    ) -> None:
        self.app = app
        self.timings = timings
        self.phase = phase
        self.on_start = on_start
        self.on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, say_why(send) if scope["type"] == "lifespan" else send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request = RequestState(choose_id(given), timings := self.timings())
        state = scope.setdefault("state", {})
        state["request"], state["timings"] = request, timings
        started = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                timings["total"] = (time.perf_counter() - started) * 1000
                stages = ", ".join([f"{stage};dur={spent:.2f}" for stage, spent in timings.items()])
                own = message["headers"]
                headers = [
                    *own,
                    SNIFFING,
                    (b"x-request-id", request.id.encode()),
                    (b"server-timing", stages.encode()),
                ]
                if "express" in state or not any(name == POLICY[0] for name, _ in own):
                    headers.append(POLICY)
                if self.phase.draining:
                    headers.append(CLOSE)
                message["headers"] = headers
            await send(message)

        self.on_start()
        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self.on_end(scope, request)
            # The address as sent: a decoded line end would forge a line.
            log_request(log, scope["method"], quote(scope["path"]), request.status, request.id, timings)


class Buffered:
    """How many bytes of bodies a process holds, all requests together, and how many it may."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0


class Bounds:
    """Hold a request to its body's size, the memory there is for bodies, and its time; answer any error."""

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, buffered: Buffered, timeout_s: float, pacer: Pacer
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.buffered = buffered
        self.timeout_s = timeout_s
        self.pacer = pacer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request: RequestState = scope["state"]["request"]
        request.task = asyncio.current_task()
        try:
            answer = await self.run(scope, receive, send, request)
            if isinstance(answer, QueueFull):
                await self.pacer.hold()
        except asyncio.CancelledError:
            if not request.is_cut or request.task is None:
                raise
            request.task.uncancel()
            answer = request.reason or ClientDisconnect()
        if isinstance(answer, ClientDisconnect):
            request.status = request.status or CLIENT_CLOSED  # nobody is there to be answered
        elif answer is not None:
            if request.status:  # half an answer is out: only a cut connection tells the client so
                raise answer
            await answer_error(answer, scope)(scope, receive, send)

    async def run(
        self, scope: Scope, receive: Receive, send: Send, request: RequestState
    ) -> Exception | None:
        """Have the request answered; give the error where it was not."""
        body = Body(self, declared_length(scope), receive)
        try:
            async with asyncio.timeout(self.timeout_s) as limit:
                await self.app(scope, body.receive, send)
        except (ServiceError, ClientDisconnect) as error:
            return error
        except Exception as error:
            if limit.expired():
                return TookTooLong(f"not answered in {self.timeout_s:g} s, the limit; try again later")
            log.exception("internal error", extra={"request_id": request.id})
            return error
        finally:
            self.buffered.held -= body.seen
        return None


class Body:
    """A body on its way in, counted as it streams: a Content-Length may be missing, or lie."""

    __slots__ = ("bounds", "declared", "receive_next", "seen")

    def __init__(self, bounds: Bounds, declared: int, receive: Receive) -> None:
        self.bounds = bounds
        self.declared = declared
        self.receive_next = receive
        self.seen = 0

    async def receive(self) -> Message:
        bounds = self.bounds
        if self.declared > bounds.max_body_bytes:
            raise self.too_large(f"{self.declared:,} bytes")
        message = await self.receive_next()
        size = len(message.get("body", b""))
        self.seen += size
        bounds.buffered.held += size
        if self.seen > bounds.max_body_bytes:
            raise self.too_large(f"{self.seen:,} bytes or more")
        if bounds.buffered.held > bounds.buffered.most:
            raise QueueFull(
                f"the bodies of all requests are {bounds.buffered.held:,} bytes;"
                f" the limit is {bounds.buffered.most:,} bytes; try again in 1 s"
            )
        return message

    def too_large(self, size: str) -> TooLarge:
        return TooLarge(f"the body is {size}; the limit is {self.bounds.max_body_bytes:,} bytes")


def declared_length(scope: Scope) -> int:
    """Read the Content-Length; 0 where there is none, or none that is a number."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            # bytes.isdigit: 0 to 9 alone. Of more digits Python makes no number.
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0


class Express:
    """Answer the busiest addresses straight away, past the router.

    Measured on `/predict`: FastAPI's routing, two exit stacks and dependencies take 65 µs of a request
    that needs none of them, of 225 in all. What stands in `endpoints` is a route of the
    router as well, which describes it, and answers it under a path prefix.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[tuple[str, str], Endpoint]) -> None:
        self.app = app
        self.endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self.endpoints.get((scope.get("method", ""), scope.get("path", "")))
        if endpoint is None:
            await self.app(scope, receive, send)
            return
        scope["state"]["express"] = True
        try:
            response = await endpoint(Request(scope, receive))
        except QueueFull:
            raise  # as `problems.handle` does
        except ServiceError as error:
            response = answer_error(error, scope)
        await response(scope, receive, send)


def say_why(send: Send) -> Send:
    """Replace the traceback that Starlette sends for a failed start by the error's own sentence."""

    async def send_sentence(message: Message) -> None:
        error = sys.exception()
        if message["type"] == "lifespan.startup.failed" and isinstance(error, StartError):
            message["message"] = str(error)
        await send(message)

    return send_sentence
