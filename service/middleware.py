"""Wrap every request: an id, a body limit, a time limit, stage timings, one log line, and no naked 500."""

import asyncio
import logging
import re
import sys
import time
import uuid
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import ArtefactError, TookTooLong, TooLarge
from service.problems import problem_response

log = logging.getLogger("service")
CLIENT_CLOSED = 499  # for the log: what nginx calls a client that went away
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestContext:
    """The outermost layer, in plain ASGI: it costs microseconds and sees every byte."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, timeout_s: float) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, say_why(send) if scope["type"] == "lifespan" else send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if SANE_ID.fullmatch(given) else uuid.uuid4().hex
        timings: dict[str, float] = {}
        scope.setdefault("state", {})["timings"] = timings
        started, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                timings["total"] = (time.perf_counter() - started) * 1000
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["Server-Timing"] = ", ".join(f"{k};dur={v:.2f}" for k, v in timings.items())
            await send(message)

        try:
            async with asyncio.timeout(self.timeout_s) as limit:
                await self.app(scope, self.counted(scope, receive), send_with_headers)
        except ClientDisconnect:
            status = CLIENT_CLOSED  # nobody is there to be answered
        except Exception as error:
            answer: Exception = error
            if limit.expired():
                answer = TookTooLong(f"not answered in {self.timeout_s:g} s, the limit; try again later")
            else:
                log.exception("internal error", extra={"request_id": request_id})
            if status:  # half an answer is out: only a cut connection tells the client so
                raise
            await problem_response(answer)(scope, receive, send_with_headers)
        finally:
            log.log(
                # A probe every few seconds would bury everything else.
                logging.DEBUG if scope["path"].startswith("/health/") else logging.INFO,
                "%s %s %d",
                scope["method"],
                quote(scope["path"]),  # as sent: a decoded line end would forge a line
                status,
                extra={"request_id": request_id, "status": status, "timings": timings},
            )

    def counted(self, scope: Scope, receive: Receive) -> Receive:
        """Count the body as it streams: a Content-Length may be missing, or lie."""
        declared = Headers(scope=scope).get("content-length", "")
        total = int(declared) if declared.isdigit() else 0
        limit = f"the limit is {self.max_body_bytes:,} bytes"
        seen = 0

        async def receive_counted() -> Message:
            nonlocal seen
            if total > self.max_body_bytes:
                raise TooLarge(f"the body is {total:,} bytes; {limit}")
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body_bytes:
                raise TooLarge(f"the body is {seen:,} bytes or more; {limit}")
            return message

        return receive_counted


def say_why(send: Send) -> Send:
    """Replace the traceback that Starlette sends for a failed start by the error's own sentence."""

    async def send_sentence(message: Message) -> None:
        error = sys.exception()
        if message["type"] == "lifespan.startup.failed" and isinstance(error, ArtefactError):
            message["message"] = str(error)
        await send(message)

    return send_sentence
