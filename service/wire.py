"""HTTP/1.1 as bytes, where neither uvicorn nor an application looks after it."""

import asyncio
import contextlib
import re
import sys

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.errors import ServiceError
from service.middleware import POLICY, SNIFFING
from service.problems import problem_response

if sys.platform == "linux":
    import fcntl
    import termios

    SENDING: int | None = termios.TIOCOUTQ
else:
    SENDING = None

LONGEST_LOOK = 8192  # bytes of a piece in which heads are looked at
UPGRADE = re.compile(rb"(\r\n)(upgrade *:)", re.IGNORECASE)


def without_upgrade(data: bytes) -> bytes:
    """Hide a wish for another protocol in a piece with a head, which a server may ignore (RFC 9110, 7.8).

    The parser would take what follows for that protocol, a body too.
    """
    if data.find(b"pgrade", 0, LONGEST_LOOK) < 0:
        return data
    head, blank, body = data.partition(b"\r\n\r\n")
    return UPGRADE.sub(rb"\1X-Not-\2", head) + blank + body


def refusal_bytes(error: ServiceError, request_id: str) -> bytes:
    """Write an error as a whole answer: nobody else does where there is no request."""
    response = problem_response(error)
    headers = [*response.raw_headers, SNIFFING, POLICY, (b"x-request-id", request_id.encode())]
    head = b"".join(b"%s: %s\r\n" % pair for pair in headers)
    return STATUS_LINE[response.status_code] + head + b"connection: close\r\n\r\n" + bytes(response.body)


def untaken_bytes(transport: asyncio.Transport) -> int:
    """Say how much of what was sent its client has not taken; 0 once all is the system's to deliver."""
    size = transport.get_write_buffer_size()
    if size and SENDING is not None:
        # The system's own megabytes go first: of a slow client's progress nothing else is seen for long.
        answer = bytearray(4)
        with contextlib.suppress(OSError):
            fcntl.ioctl(transport.get_extra_info("socket").fileno(), SENDING, answer)
        size += int.from_bytes(answer, sys.byteorder)
    return size
