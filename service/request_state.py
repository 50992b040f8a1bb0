"""What is known of a request while it runs: its id, its times, and how to end it from outside."""

import asyncio
import random
import re
from dataclasses import dataclass

from service.errors import ServiceError

SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
CLIENT_CLOSED = 499  # for the log: what nginx calls a client that went away


@dataclass(slots=True, eq=False)
class RequestState:
    """One request, as its connection, the layers around the application and the log see it."""

    id: str
    timings: dict[str, float]  # stage -> milliseconds
    status: int = 0
    task: asyncio.Task[None] | None = None
    is_cut: bool = False
    reason: ServiceError | None = None  # why it was cut; None: its client went away

    def cut(self, reason: ServiceError | None) -> None:
        """Stop the work on it, wherever that is; what waits in a queue is taken out of it."""
        if self.task is not None and not self.is_cut:
            self.is_cut, self.reason = True, reason
            self.task.cancel()


def choose_id(given: bytes) -> str:
    """Take the caller's request id where it is sane, or make one."""
    if given and SANE_ID.fullmatch(given):
        return given.decode()
    # No secret. uuid4's system call gives the other thread its turn, which costs more than the id.
    return f"{random.getrandbits(128):032x}"
