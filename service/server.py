"""uvicorn's server, which goes on for a moment after SIGTERM: balancers hear of it before the door closes."""

import asyncio
import logging
import os
import signal
import socket
import time
from types import FrameType

import uvicorn

log = logging.getLogger("service")
CLOSING_S = 5.0  # to end queues and threads, once requests have had their time


class Server(uvicorn.Server):
    """Serves for `drain_s` more after SIGTERM; meanwhile `/health/ready` is 503, connections are closed."""

    def __init__(self, config: uvicorn.Config, drain_s: float) -> None:
        super().__init__(config)
        self.drain_s = drain_s
        self.exit_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Before it has started there is nobody to wait for.
        if sig == signal.SIGTERM and self.started and self.exit_at is None and not self.should_exit:
            self._captured_signals.append(sig)
            self.exit_at = time.monotonic() + self.drain_s
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self.exit_at is not None and time.monotonic() >= self.exit_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in time even where a model never comes back: no thread can be made to stop."""
        limit_s = (self.config.timeout_graceful_shutdown or 0) + CLOSING_S
        try:
            await asyncio.wait_for(super().shutdown(sockets), limit_s)
        except TimeoutError:
            log.error("not all work came to an end in %.0f s; the process ends all the same", limit_s)
            logging.shutdown()
            os._exit(1)
