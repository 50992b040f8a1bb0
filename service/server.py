"""uvicorn's server, which goes on for a moment after SIGTERM: balancers hear of it before the door closes."""

import signal
import time
from types import FrameType

import uvicorn


class Server(uvicorn.Server):
    """Serves for `drain_s` more after SIGTERM; meanwhile `/health/ready` is 503, connections are closed."""

    def __init__(self, config: uvicorn.Config, drain_s: float) -> None:
        super().__init__(config)
        self.drain_s = drain_s
        self.exit_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM and self.exit_at is None and not self.should_exit:
            self._captured_signals.append(sig)
            self.exit_at = time.monotonic() + self.drain_s
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self.exit_at is not None and time.monotonic() >= self.exit_at:
            self.should_exit = True
        return await super().on_tick(counter)
