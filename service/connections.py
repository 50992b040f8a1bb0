"""The connections of a process, each held to its times, its sizes and its number: what uvicorn leaves open.

uvicorn waits for ever for the rest of a request's head or body, and keeps as much of a head as comes. Here
a connection says what it is reading and since when, and once a second all are looked at: nothing is done
for a request that is in time.
"""

import asyncio
import enum
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.errors import (
    BodyTooSlow,
    HeadTooLarge,
    HeadTooSlow,
    MalformedRequest,
    ServiceError,
    TooManyConnections,
)
from service.request_state import RequestState, choose_id
from service.wire import refusal_bytes, untaken_bytes, without_upgrade

log = logging.getLogger("service")
LINGER_S = 5.0  # how long the rest of a body is taken after an early answer, or the client might miss that
SLOWEST_READER = 4096  # bytes a second of an answer, over as long as a body may take: less is cut off
NOWHERE = cast(list[tuple[bytes, bytes]], deque(maxlen=0))
EVICTED_AT_ONCE = 64  # looking for the idle ones costs as much as there are connections


class Reading(enum.Enum):
    """What a connection waits for from its client."""

    NOTHING = enum.auto()  # between requests
    HEAD = enum.auto()
    BODY = enum.auto()


class Connections:
    """The open connections of a process, and what they are held to."""

    def __init__(
        self,
        *,
        most: int,
        max_head_bytes: int,
        max_unsent_bytes: int,
        head_timeout_s: float,
        body_timeout_s: float,
    ) -> None:
        self.most = most
        self.max_head_bytes = max_head_bytes
        self.max_unsent_bytes = max_unsent_bytes
        self.head_timeout_s = head_timeout_s
        self.body_timeout_s = body_timeout_s
        self.open: set[Connection] = set()
        self.closing: set[Connection] = set()  # closed here, and perhaps not yet read to the end there
        self.on_close: Callable[[str], None] = lambda reason: None
        self.on_refusal: Callable[[ServiceError], None] = lambda error: None

    def add(self, connection: "Connection") -> None:
        """Take one in; where there are too many, close those that have idled longest, or else this one."""
        self.open.add(connection)
        if len(self.open) <= self.most:
            return
        idle = sorted((one for one in self.open if one.is_idle), key=lambda one: one.since)
        for one in idle[:EVICTED_AT_ONCE]:
            if one is not connection:
                self.close(one, "evicted")
        if len(self.open) > self.most + EVICTED_AT_ONCE:
            connection.refuse(
                TooManyConnections(f"{len(self.open)} connections are open; the limit is {self.most}")
            )

    def close(self, connection: "Connection", reason: str) -> None:
        self.on_close(reason)
        self.let_go(connection)

    def let_go(self, connection: "Connection") -> None:
        """Close once all is sent, which its client may delay."""
        self.open.discard(connection)
        self.closing.add(connection)
        connection.transport.close()

    def sweep(self) -> None:
        """Cut off whoever takes too long; to be called once a second."""
        now = time.monotonic()
        for one in [*self.open, *self.closing]:
            if one.is_stalled(now, self.body_timeout_s):
                self.abort(one)
        self.make_room()
        for one in list(self.open):
            spent_s = now - one.since
            if one.reading is Reading.HEAD and not one.is_answering and spent_s > self.head_timeout_s:
                self.on_close("slow-head")
                one.refuse_slow_head()
            elif one.reading is Reading.BODY and one.is_answering and spent_s > self.body_timeout_s:
                one.cut(BodyTooSlow(f"the body did not arrive in {self.body_timeout_s:g} s, the limit"))
            elif one.reading is Reading.BODY and not one.is_answering and spent_s > LINGER_S:
                self.close(one, "lingering")

    def make_room(self) -> None:
        """Where answers that nobody takes fill the memory for them, cut off those with the largest."""
        unsent = [(one.transport.get_write_buffer_size(), one) for one in [*self.open, *self.closing]]
        total = sum(size for size, _ in unsent)
        for size, one in sorted(unsent, key=lambda pair: -pair[0]):
            if total <= self.max_unsent_bytes:
                return
            total -= size
            self.abort(one)

    def abort(self, connection: "Connection") -> None:
        """Cut off who does not take its answer; what is left of that is thrown away."""
        self.on_close("slow-reader")
        connection.transport.abort()


class Connection(HttpToolsProtocol):
    """One connection. Its place among the others is found in the lifespan's state, `connections`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.reading = Reading.HEAD
        self.since = time.monotonic()
        self.head_bytes = 0
        self.other_bytes = 0  # of a body, since the last that was its content: sizes of chunks, trailers
        self.refusal: ServiceError | None = None
        self.answering: RequestResponseCycle | None = None
        self.unsent = (0.0, 0.0, 0)  # `since`, a time, and how much of an answer was not taken then
        self.watch: Connections = self.app_state["connections"]
        self.watch.add(self)

    @property
    def is_answering(self) -> bool:
        return self.answering is not None and not self.answering.response_complete

    @property
    def is_idle(self) -> bool:
        """Whether nobody would miss it: no request has come in whole, or all are answered."""
        return not self.is_answering

    def is_stalled(self, now: float, limit_s: float) -> bool:
        """Whether the client has taken next to nothing of an answer for `limit_s`.

        uvicorn writes an answer whole and waits for ever until it is taken, megabytes of it in memory.
        """
        size = untaken_bytes(self.transport)
        since, at, before = self.unsent
        spent_s = now - at
        if (
            size == 0
            or since != self.since
            or (spent_s > limit_s and before - size > SLOWEST_READER * spent_s)
        ):
            self.unsent = self.since, now, size
            return False
        return spent_s > limit_s

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch.open.discard(self)
        self.watch.closing.discard(self)
        super().connection_lost(exc)
        self.cut(None)

    def cut(self, error: ServiceError | None) -> None:
        """End the work on the request that is being answered; `error` is the answer, if anybody is there."""
        if self.answering is None or self.answering.response_complete:
            return
        state = cast(dict[str, Any], self.answering.scope).get("state", {}).get("request")
        if isinstance(state, RequestState):
            state.cut(error)

    def data_received(self, data: bytes) -> None:
        if self.reading is Reading.BODY:
            self.other_bytes += len(data)
        else:
            self.head_bytes += len(data)
            data = without_upgrade(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except (HttpParserUpgrade, HttpParserError):
            self.refuse(self.refusal or MalformedRequest("this is no HTTP request that can be read"))
        if self.reading is Reading.HEAD and self.head_bytes > self.watch.max_head_bytes:
            self.refuse(self.too_large("request line and headers", self.head_bytes))
        elif self.reading is Reading.BODY and self.other_bytes > self.watch.max_head_bytes:
            self.refuse(self.too_large("chunk sizes and trailers", self.other_bytes))

    def too_large(self, what: str, size: int) -> HeadTooLarge:
        limit = f"{self.watch.max_head_bytes:,} bytes"
        return HeadTooLarge(f"the {what} are {size:,} bytes or more; the limit is {limit}")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.reading is Reading.NOTHING:
            self.reading, self.since = Reading.HEAD, time.monotonic()

    def on_headers_complete(self) -> None:
        if self.head_bytes > self.watch.max_head_bytes:  # with what came of the body in the same piece
            self.head_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if self.head_bytes > self.watch.max_head_bytes:
                self.refusal = self.too_large("request line and headers", self.head_bytes)
                raise self.refusal
        self.reading, self.since, self.head_bytes, self.other_bytes = Reading.BODY, time.monotonic(), 0, 0
        super().on_headers_complete()
        self.headers = NOWHERE  # trailers, which uvicorn would keep without end, and nobody reads

    def on_body(self, body: bytes) -> None:
        self.other_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.reading = Reading.NOTHING
        if not self.pipeline:
            # Paused by a large body, it would not see that its client goes away.
            self.flow.resume_reading()
        if self.answering is not None and self.answering.response_complete:  # lingered to the end
            self.since = time.monotonic()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.since = time.monotonic()
        super().on_response_complete()

    def refuse_slow_head(self) -> None:
        if self.head_bytes:
            limit = f"{self.watch.head_timeout_s:g} s, the limit"
            self.refuse(HeadTooSlow(f"the request's head did not arrive in {limit}"))
        else:  # nothing was asked
            self.watch.let_go(self)

    def refuse(self, error: ServiceError) -> None:
        """Answer what never became a whole request, and close; what was begun for it is ended."""
        if self.transport.is_closing():
            return
        self.watch.on_refusal(error)
        underway = self.answering if self.is_answering else None
        if underway is None or not underway.response_started:  # or it would land in the middle of an answer
            request_id = choose_id(b"")
            log.info("refused: %s", error.detail, extra={"request_id": request_id, "status": error.status})
            self.transport.write(refusal_bytes(error, request_id))
        if underway is not None:
            underway.disconnected = True  # nothing more is written of it
            self.cut(None)
        self.watch.let_go(self)
