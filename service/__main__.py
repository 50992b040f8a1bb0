"""The command line: `python -m service --host --port --workers`."""

import argparse
import contextlib
import logging
import math
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from service.errors import ArtefactError
from service.logs import log_config
from service.settings import Settings, SettingsError, load_settings
from service.supervisor import STARTUP_FAILURE, share, supervise

DRAIN_MARGIN_S = 2  # beyond the time a request may take, for requests in flight at SIGTERM


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; returns 2 for an unusable setting, 3 for a failed start."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to be reached from elsewhere")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="processes; they share the models' memory")
    options = parser.parse_args()
    # Before NumPy loads: requests run side by side already, and on busy cores OpenBLAS's own threads
    # waited for each other up to 100 times longer than they worked.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if options.workers > 1 and not settings.threads:  # the processes share the cores
        each = max(1, settings.thread_count // options.workers)
        settings = settings.model_copy(update={"threads": each})
    config = uvicorn.Config(
        "service.app:create_app",
        factory=True,
        host=options.host,
        port=options.port,
        workers=options.workers,
        log_config=log_config(settings.log_format),
        access_log=False,
        proxy_headers=False,  # nobody here asks where a request came from
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.timeout_s) + DRAIN_MARGIN_S,
    )
    return run(config) if options.workers == 1 else run_several(config, settings)


def run(config: uvicorn.Config, sockets: list[socket.socket] | None = None) -> int:
    """Run one server; unlike with `uvicorn.run`, a failed start is always a 3."""
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) == signal.SIG_DFL:
            # For after the drain: uvicorn raises again then what it was stopped by.
            signal.signal(number, end)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C, given on once everything is answered
        server.run(sockets)
    return 0 if server.started else STARTUP_FAILURE


def end(number: int, _: FrameType | None) -> None:
    """End by a signal as if nobody handled it, with the last log lines written."""
    logging.shutdown()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def run_several(config: uvicorn.Config, settings: Settings) -> int:
    """Load the models once, then run several servers that share them and the address."""
    import torch  # noqa: PLC0415  (after the environment is set)

    from service.app import create_app, load_warm  # noqa: PLC0415

    torch.set_num_threads(1)  # threads of its own do not survive a fork; each process starts those it wants
    try:
        models = load_warm(settings)
    except ArtefactError as error:
        logging.getLogger("service").error("%s", error)
        return STARTUP_FAILURE
    config.app, config.factory = create_app(settings, models), False
    sockets = share(config.bind_socket(), config.workers)
    return supervise(lambda own: run(config, [own]), sockets)


if __name__ == "__main__":
    sys.exit(main())
