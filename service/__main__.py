"""The command line: `python -m service --host --port --workers`."""

import argparse
import contextlib
import math
import os
import sys

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from service.logs import log_config
from service.settings import SettingsError, load_settings

DRAIN_MARGIN_S = 2  # beyond the time a request may take, for requests in flight at SIGTERM


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; returns 2 for an unusable setting, 3 for a failed start."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to be reached from elsewhere")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1, help="processes; each loads every model")
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
        os.environ["STRIDE_THREADS"] = str(max(1, settings.thread_count // options.workers))
    return run(
        uvicorn.Config(
            "service.app:create_app",
            factory=True,
            host=options.host,
            port=options.port,
            workers=options.workers,
            log_config=log_config(settings.log_format),
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(settings.timeout_s) + DRAIN_MARGIN_S,
        )
    )


def run(config: uvicorn.Config) -> int:
    """Run one server, or a supervisor of several; unlike with `uvicorn.run`, a failed start is always a 3."""
    if config.workers == 1:
        server = uvicorn.Server(config)
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C, given on once everything is answered
            server.run()
        return 0 if server.started else STARTUP_FAILURE
    supervisor = Multiprocess(config, sockets=[config.bind_socket()])
    supervisor.run()
    failed = any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes)
    return STARTUP_FAILURE if failed else 0


if __name__ == "__main__":
    sys.exit(main())
