"""Several processes on one address: forked once the models are loaded, so that they share their memory.

The parent serves nothing. It starts another process where one dies, and ends when all have ended. A
connection that waits to be accepted belongs to the address, not to a process: it survives each of them.
"""

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

log = logging.getLogger("service")
STARTUP_FAILURE = 3  # as uvicorn ends where an application does not start
RESTART_AFTER_S = 1.0  # no sooner: a process that dies at once must not keep the machine busy


def supervise(serve: Callable[[], int], count: int) -> int:
    """Run `serve` in `count` processes until SIGTERM or SIGINT; returns 3 where one did not start, else 0.

    Call it before anything has started threads: of those, a forked process has none.
    """
    return Supervisor(serve).run(count)


class Supervisor:
    """The processes by their ids, and whether they are being stopped."""

    def __init__(self, serve: Callable[[], int]) -> None:
        self.serve = serve
        self.started: dict[int, float] = {}
        self.stopping = False

    def run(self, count: int) -> int:
        # What is there now stays: the collector would write to, and so copy, every page of it.
        gc.collect()
        gc.freeze()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)
        for _ in range(count):
            self.start()
        result = 0
        while self.started:
            process, status = os.waitpid(-1, 0)
            if self.ended(process, os.waitstatus_to_exitcode(status)) == STARTUP_FAILURE:
                result = STARTUP_FAILURE
        return result

    def start(self) -> None:
        process = os.fork()
        if process:
            self.started[process] = time.monotonic()
            return
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            code = self.serve()
        finally:  # whatever happened, the parent's code is not this process's to run
            logging.shutdown()
            sys.stderr.flush()
            os._exit(code)

    def ended(self, process: int, code: int) -> int:
        """Replace a process that died; stop all where one cannot start. Returns its exit code."""
        age_s = time.monotonic() - self.started.pop(process)
        if code == STARTUP_FAILURE and not self.stopping:
            self.stop(signal.SIGTERM, None)
        elif not self.stopping:
            log.error("process %d died with %d after %.1f s; starting another", process, code, age_s)
            time.sleep(max(0.0, RESTART_AFTER_S - age_s))
            if not self.stopping:
                self.start()
        return code

    def stop(self, number: int, _: FrameType | None) -> None:
        """Have every process drain; asked again, end them at once."""
        # Not SIGINT, which the terminal has sent to each already: uvicorn takes a second for impatience.
        ask = signal.SIGKILL if self.stopping and number == signal.SIGINT else signal.SIGTERM
        self.stopping = True
        for process in self.started:
            os.kill(process, ask)
