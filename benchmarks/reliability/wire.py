"""HTTP/1.1 by sockets, as plain as it gets: requests as bytes, so that they can be wrong and can be left."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LIMIT_BYTES = 2**22
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: closing sends RST


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Write a request; `content_type="…"` becomes Content-Type."""
    given = {"Host": "127.0.0.1"} | {name.replace("_", "-").title(): value for name, value in headers.items()}
    if body or method == "POST":
        given.setdefault("Content-Length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Line:
    """A connection of a client, opened where there is none."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port, limit=LIMIT_BYTES)
        return self.streams

    async def exchange(self, data: bytes) -> Answer:
        """Send a request and read its answer. Raises ConnectionError, asyncio.IncompleteReadError."""
        reader, writer = await self.open()
        writer.write(data)
        answer = await read_answer(reader)
        if answer.headers.get("connection") == "close":
            self.leave()
        return answer

    def leave(self, *, reset: bool = False) -> None:
        """Close, or break off: with a reset the other side hears of it as an error."""
        if self.streams is None:
            return
        _, writer = self.streams
        self.streams = None
        if reset:
            with contextlib.suppress(OSError):  # closed by the other side
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        else:
            writer.close()


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Read one answer: a body of a stated length, or in chunks."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (one.partition(":") for one in head[1:] if one)
    }
    status = int(head[0].split(" ", 2)[1])
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, await read_chunks(reader))
    return Answer(status, headers, await reader.readexactly(int(headers.get("content-length", 0))))


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    while size := int(await reader.readline(), 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(pieces)


async def ask(port: int, data: bytes, within_s: float = 60) -> Answer:
    """Send one request on a connection of its own."""
    line = Line(port)
    try:
        return await asyncio.wait_for(line.exchange(data), within_s)
    finally:
        line.leave()
