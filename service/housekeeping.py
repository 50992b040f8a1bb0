"""What a process does once a second beside serving: slow clients, metrics, a changed models folder."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from service.connections import Connections
from service.metrics import Metrics
from service.middleware import Buffered, Phase
from service.reloading import fingerprint
from service.serving import ServedModels
from service.workers import Workers

log = logging.getLogger("service")
EVERY_S = 1.0
STATM = Path("/proc/self/statm")


class Watch:
    """Says when the models folder is to be read again: on demand, or because it changed and is at rest."""

    def __init__(self, folder: Path, every_s: float) -> None:
        self.folder = folder
        self.every_s = every_s
        self.wanted = False
        self.read = self.seen = fingerprint(folder)  # `read`: as it was when the models were loaded
        self.looked_at = time.monotonic()

    def is_due(self) -> bool:
        if self.wanted:
            return True
        now = time.monotonic()
        if not self.every_s or now - self.looked_at < self.every_s:
            return False
        self.looked_at = now
        before, self.seen = self.seen, fingerprint(self.folder)
        # Seen twice alike: a copy that is being written, or its manifest, is not looked at half-way.
        return self.seen == before != self.read

    def has_begun(self) -> None:
        self.wanted, self.read = False, fingerprint(self.folder)


@contextlib.asynccontextmanager
async def kept_house(*tasks: Callable[[], Awaitable[None] | None]) -> AsyncIterator[None]:
    """Call each of `tasks` once a second while the block runs, one failing or not."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            for task in tasks:
                try:
                    result = task()
                    if result is not None:
                        await result
                except Exception:
                    log.exception("a task of every second failed")

    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper


def leave_with(parent: int | None) -> None:
    """Drain where the process that forked this one is gone: nobody would replace it, nor ever stop it."""
    if parent is not None and os.getppid() != parent:
        log.error("process %d, which looked after this one, is gone", parent)
        os.kill(os.getpid(), signal.SIGTERM)


def measure(
    metrics: Metrics,
    models: ServedModels,
    workers: Workers,
    connections: Connections,
    buffered: Buffered,
    phase: Phase,
) -> None:
    """Set the gauges to what is so now, and hand all metrics over."""
    metrics.set("requests_in_flight", metrics.in_flight)
    metrics.set("connections", len(connections.open))
    metrics.set("buffered_bytes", buffered.held)
    waiting: dict[tuple[str, ...], float] = {
        (name,): len(served.batcher.waiting) for name, served in models.by_name.items()
    }
    metrics.set_all("queue_length", waiting | {("threads",): workers.waiting})
    metrics.set("models_refused", len(models.refused))
    metrics.set("ready", 0 if phase.draining else 1)
    if STATM.exists():
        resident = int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        metrics.set("process_resident_memory_bytes", resident)
    metrics.flush()
