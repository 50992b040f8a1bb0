"""Write a file whole or not at all; keep a folder to one run."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from training.errors import DataError


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path`, onto the disk, then rename: whatever happens, `path` is old or new, not half.

    Raises OSError, and then leaves nothing beside.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or the rename may reach the disk before the content
        os.replace(beside, path)  # noqa: PTH105  (says "atomic" to whoever knows it)
    finally:
        beside.unlink(missing_ok=True)


def set_aside(path: Path) -> Path | None:
    """Keep an earlier run's file under another name, which is returned; None if there is none."""
    try:
        return path.replace(path.with_suffix(f".old{path.suffix}"))
    except FileNotFoundError:
        return None


@contextmanager
def kept_to_one(folder: Path, patience_s: float = 0) -> Iterator[None]:
    """Let no other process use `folder` so; one that dies gives it free. Raises DataError after `patience_s`.

    A record lock: worker processes, which may outlive a killed run by seconds, do not inherit it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        until = time.monotonic() + patience_s
        while is_locked(file) and time.monotonic() < until:
            time.sleep(1)
        if is_locked(file):
            raise DataError(f"another run is going on in {folder}: wait for it, or choose another --run-dir")
        yield


def is_locked(file: TextIO) -> bool:
    """Lock a file, unless another process has."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # any other: a file system without locks
        return error.errno in {errno.EACCES, errno.EAGAIN}
    return False
