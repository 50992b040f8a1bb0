"""Several processes on one address: forked once the models are loaded, so that they share their memory.

The parent serves nothing. It starts another process where one dies, and ends when all have ended. Each
process has a socket of its own on the address (SO_REUSEPORT): of one for all, the first to wake takes most
of the connections, and a second core idles. The parent holds them too: what waits there outlives a process.
"""

import contextlib
import gc
import logging
import math
import mmap
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from types import FrameType

log = logging.getLogger("service")
STARTUP_FAILURE = 3  # as uvicorn ends where an application does not start
STOPPING = (signal.SIGTERM, signal.SIGINT)
RELOADING = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
HANDLED = [*STOPPING, *RELOADING, signal.SIGALRM]
LOOK_EVERY_S = 2.0
BEAT = struct.Struct("d")
RESTART_AFTER_S = 1.0  # no sooner: a process that dies at once must not keep the machine busy


Serve = Callable[[socket.socket, Callable[[], None]], int]


def supervise(
    serve: Serve,
    sockets: list[socket.socket],
    *,
    on_end: Callable[[int], None] = lambda process: None,
    most_silent_s: float = math.inf,
    most_stopping_s: float = math.inf,
) -> int:
    """Run `serve` in a process for each socket until SIGTERM or SIGINT; 3 where one did not start, else 0.

    `serve` gets its socket, and a function to call once a second: a process that has not for
    `most_silent_s` is ended and replaced, one that has not stopped in `most_stopping_s` is ended. `on_end` is
    told the id of each that has ended. SIGHUP is handed on to all. Call it before torch has started
    threads: of those, a forked process has none.
    """
    return Supervisor(serve, sockets, on_end, most_silent_s, most_stopping_s).run()


def share(bound: socket.socket, count: int) -> list[socket.socket]:
    """Give `count` sockets of their own on an address that nobody else has: `bound` is there, and closed."""
    address = bound.getsockname()
    bound.close()
    sockets = []
    for _ in range(count):
        one = socket.socket(bound.family)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(address)
        one.set_inheritable(True)
        sockets.append(one)
    return sockets


class Supervisor:
    """The processes by their ids, since when and on which socket, and whether they are being stopped."""

    def __init__(
        self,
        serve: Serve,
        sockets: list[socket.socket],
        on_end: Callable[[int], None],
        most_silent_s: float,
        most_stopping_s: float,
    ) -> None:
        self.serve = serve
        self.sockets = sockets
        self.on_end = on_end
        self.most_silent_s = most_silent_s
        self.most_stopping_s = most_stopping_s
        self.started: dict[int, tuple[float, socket.socket]] = {}
        self.stopping = False
        self.stopping_since = math.inf
        # When each was last heard of, by its socket's place; shared with the processes.
        self.heard = mmap.mmap(-1, BEAT.size * len(sockets))

    def run(self) -> int:
        # What is there now stays: the collector would write to, and so copy, every page of it.
        gc.collect()
        gc.freeze()
        for number in STOPPING:
            signal.signal(number, self.stop)
        for number in RELOADING:
            signal.signal(number, self.hand_on)
        signal.signal(signal.SIGALRM, self.look)
        signal.setitimer(signal.ITIMER_REAL, LOOK_EVERY_S, LOOK_EVERY_S)
        for one in self.sockets:
            self.start(one)
        result = 0
        while self.started:
            process, status = os.waitpid(-1, 0)
            if process not in self.started:  # somebody else's child, left to this process
                continue
            if self.ended(process, os.waitstatus_to_exitcode(status)) == STARTUP_FAILURE:
                result = STARTUP_FAILURE
        return result

    def start(self, own: socket.socket) -> None:
        # A signal between the fork and what follows would find the wrong handlers, or miss the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        if self.stopping:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            return
        self.beat(own)
        process = os.fork()
        if process:
            self.started[process] = time.monotonic(), own
            if self.stopping:  # another thread, which has its own mask, took the signal meanwhile
                os.kill(process, signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            return
        code = 1
        try:
            for number in STOPPING:
                signal.signal(number, signal.SIG_DFL)
            for number in RELOADING:
                signal.signal(number, signal.SIG_IGN)  # until somebody listens
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            for one in self.sockets:
                if one is not own:
                    one.close()
            code = self.serve(own, partial(self.beat, own))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            log.exception("the process cannot go on")
        finally:  # whatever happened, the parent's code is not this process's to run
            logging.shutdown()
            sys.stderr.flush()
            os._exit(code)

    def ended(self, process: int, code: int) -> int:
        """Replace a process that died; stop all where one cannot start. Returns its exit code."""
        since, own = self.started.pop(process)
        self.on_end(process)
        age_s = time.monotonic() - since
        if code == STARTUP_FAILURE and not self.stopping:
            self.stop(signal.SIGTERM, None)
        elif not self.stopping:
            log.error("process %d died with %d after %.1f s; starting another", process, code, age_s)
            time.sleep(max(0.0, RESTART_AFTER_S - age_s))
            if not self.stopping:
                self.start(own)
        return code

    def beat(self, own: socket.socket) -> None:
        """Note that the process of a socket is well."""
        BEAT.pack_into(self.heard, BEAT.size * self.sockets.index(own), time.monotonic())

    def look(self, number: int, _: FrameType | None) -> None:
        """End processes that are stuck, and those that do not come to an end."""
        now = time.monotonic()
        for process, (__, own) in self.started.items():
            (heard,) = BEAT.unpack_from(self.heard, BEAT.size * self.sockets.index(own))
            if self.stopping and now - self.stopping_since > self.most_stopping_s:
                log.error("process %d has not ended in %.0f s; ending it", process, self.most_stopping_s)
            elif not self.stopping and now - heard > self.most_silent_s:
                log.error("process %d was not heard of for %.0f s; ending it", process, now - heard)
            else:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def hand_on(self, number: int, _: FrameType | None) -> None:
        """Tell every process what this one was told."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def stop(self, number: int, _: FrameType | None) -> None:
        """Have every process drain; asked again, end them at once."""
        # Not SIGINT, which the terminal has sent to each already: uvicorn takes a second for impatience.
        ask = signal.SIGKILL if self.stopping and number == signal.SIGINT else signal.SIGTERM
        self.stopping, self.stopping_since = True, min(self.stopping_since, time.monotonic())
        for one in self.sockets:
            one.close()  # or connections would wait where nobody accepts them
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and is about to be noticed
                os.kill(process, ask)
