"""The command line: `python -m service --host --port --workers`, or `--new-key NAME`."""

import argparse
import contextlib
import logging
import math
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import uvicorn

from service.errors import StartError
from service.logs import log_config
from service.process import fill_standard_files, raise_open_files, share_heaps
from service.server import CLOSING_S, Server
from service.settings import Settings, SettingsError, load_settings
from service.supervisor import STARTUP_FAILURE, share, supervise

DRAIN_MARGIN_S = 2  # beyond the time a request may take, for requests in flight at SIGTERM
SILENCE_MARGIN_S = 15  # beyond that, for an event loop that is only busy
SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; returns 2 for an unusable setting, 3 for a failed start."""
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to be reached from elsewhere")
    parser.add_argument("--port", type=whole(0, 65535), default=8000, help="0: any that is free")
    parser.add_argument(
        "--workers", type=whole(1, 1024), default=1, help="processes; they share the models' memory"
    )
    parser.add_argument("--new-key", metavar="NAME", help="make an API key, print it and its entry, and end")
    options = parser.parse_args()
    if options.new_key:
        return print_key(options.new_key)
    # Before NumPy loads: requests run side by side already, and on busy cores OpenBLAS's own threads
    # waited for each other up to 100 times longer than they worked.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_loading)  # the first process of a container has no default
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until somebody listens: it asks for a reload
    fill_standard_files()
    raise_open_files()
    share_heaps()
    try:
        settings = load_settings()
        check_access(settings)
        check_metrics_folder()
        if options.workers > 1 and settings.device != "cpu":
            raise StartError(f"STRIDE_DEVICE={settings.device}: a GPU is for one process, so --workers 1")
    except (SettingsError, StartError) as error:
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
        http="service.connections:Connection",
        ws="none",
        log_config=log_config(settings.log_format),
        access_log=False,
        proxy_headers=False,  # anybody could name another address than their own
        server_header=False,
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=math.ceil(settings.timeout_s) + DRAIN_MARGIN_S,
    )
    if options.workers == 1:
        return run(config, settings.drain_s)
    with metrics_folder():
        return run_several(config, settings)


def whole(least: int, most: int) -> Callable[[str], int]:
    """Make the type of an option: a whole number between two."""

    def read(text: str) -> int:
        number = int(text)
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{number} is not between {least} and {most}")
        return number

    read.__name__ = "whole number"  # for argparse's own sentence
    return read


def check_metrics_folder() -> None:
    """Raise StartError where the folder that is given for the metrics is none."""
    given = os.environ.get(SHARED_METRICS)
    if given and not (Path(given).is_dir() and os.access(given, os.W_OK)):
        raise StartError(f"{SHARED_METRICS}={given}: no folder that can be written to")


def check_access(settings: Settings) -> None:
    """Raise StartError for keys or a rate that cannot be read, before anything is loaded."""
    from service.access import Keys, Quota  # noqa: PLC0415  (after the environment is set)

    Keys(settings.api_keys, settings.api_keys_file)
    if settings.rate_limit:
        Quota(settings.rate_limit)


def print_key(name: str) -> int:
    """Print a new API key and the entry that lets it in; what is stored does not tell the key."""
    from service.access import ENTRY, new_key  # noqa: PLC0415  (not needed to serve)

    key, entry = new_key(name)
    if not ENTRY.fullmatch(entry):
        sys.stderr.write(f"error: the name {name!r} may have letters, digits, '.', '_' and '-', 64 at most\n")
        return 2
    sys.stdout.write(f"key, for the caller:  {key}\nfor STRIDE_API_KEYS: {entry}\n")
    return 0


@contextlib.contextmanager
def metrics_folder() -> Iterator[None]:
    """Give the processes a folder to add up their metrics in, unless one is given."""
    if os.environ.get(SHARED_METRICS):
        yield
        return
    folder = tempfile.mkdtemp(prefix="stride-metrics-")
    os.environ[SHARED_METRICS] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(config: uvicorn.Config, drain_s: float, sockets: list[socket.socket] | None = None) -> int:
    """Run one server; unlike with `uvicorn.run`, a failed start is always a 3."""
    server = Server(config, drain_s)
    # For after the drain: uvicorn raises again then what it was stopped by.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
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
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

    from service.app import create_app  # noqa: PLC0415
    from service.shelf import load_warm  # noqa: PLC0415

    torch.set_num_threads(1)  # threads of its own do not survive a fork; each process starts those it wants
    try:
        app = create_app(settings, load_warm(settings))
    except StartError as error:
        logging.getLogger("service").error("%s", error)
        return STARTUP_FAILURE
    mark_process_dead(os.getpid())  # this process serves nothing: its gauges would be among the others'

    config.app, config.factory = app, False
    app.state.parent = os.getpid()

    def serve(own: socket.socket, beat: Callable[[], None]) -> int:
        app.state.beat = beat
        with contextlib.suppress(OSError):  # somebody may have cleared it away, with others' temporary files
            Path(os.environ[SHARED_METRICS]).mkdir(parents=True, exist_ok=True)
        return run(config, settings.drain_s, [own])

    sockets = share(config.bind_socket(), config.workers)
    return supervise(
        serve,
        sockets,
        on_end=mark_process_dead,
        most_silent_s=settings.timeout_s + SILENCE_MARGIN_S,
        most_stopping_s=settings.drain_s + (config.timeout_graceful_shutdown or 0) + 2 * CLOSING_S,
    )


def stop_loading(number: int, _: FrameType | None) -> None:
    """End before anything is served."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
