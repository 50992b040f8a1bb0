"""Fetch a published file once, verified by its checksum, from the user's disk or from an address."""

import errno
import hashlib
import http.client
import io
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import url2pathname

from training.errors import DataError

DOWNLOAD_TIMEOUT_S = 30  # without a byte


class NotFetched(Exception):
    """An address did not give the file; the message says why."""


@dataclass(frozen=True)
class Archive:
    """A file as the authors of a data set publish it."""

    path: Path  # where torchvision looks for it
    md5: str
    addresses: tuple[str, ...]


def check_mirror(mirror: str | None) -> None:
    """Refuse what is no address. Raises DataError."""
    if mirror is None:
        return
    try:
        parts = urlsplit(mirror)
        remote = parts.scheme in {"http", "https"} and parts.hostname
        local = parts.scheme == "file" and parts.path and not parts.netloc
    except ValueError:  # "http://[": no address at all
        remote = local = None
    if not remote and not local:
        raise DataError(
            f"--mirror {mirror}: not an address that files can be fetched from; give one as "
            "https://mirror.example/datasets or file:///media/datasets"
        )


def obtain(archive: Archive, name: str, places: tuple[Path, ...], addresses: tuple[str, ...]) -> None:
    """Put the verified archive in its place, from where the user has put it or from the first good address.

    What a broken copy or download leaves has another checksum: no later run trusts it.
    """
    found = [place for place in dict.fromkeys(places) if place.is_file()]
    for place in found:
        if has_md5(place, archive.md5):
            if place != archive.path:
                archive.path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(place, archive.path)
            return
    failures = []
    for address in addresses:
        try:
            fetch(address, archive)
        except NotFetched as error:
            failures.append(f"{address}: {error}")
        else:
            return
    damaged = f"; {', '.join(map(str, found))} is there with another checksum" if found else ""
    raise DataError(
        f"{name}: cannot fetch {archive.path.name} ({'; '.join(failures)}{damaged}); fetch it another way "
        f"and put it into {places[-1].parent} (the folder named with --data-dir), or name a mirror with "
        "--mirror"
    )


def fetch(address: str, archive: Archive) -> None:
    """Fetch an archive to its place and verify it. Raises NotFetched, or OSError if the disk is to blame."""
    from torchvision.datasets.utils import download_url  # noqa: PLC0415

    path = archive.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if urlsplit(address).scheme == "file":  # torchvision wants a length, which urllib's files lack
        copy_file(Path(url2pathname(urlsplit(address).path)), archive)
        return
    # torchvision's progress bar is for a person who waits, not for a log
    silence = nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO())
    try:
        with socket_timeout(DOWNLOAD_TIMEOUT_S), silence:
            download_url(address, str(path.parent), path.name, archive.md5)
    except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection; newer Pythons warn of that
        if disk := disk_error(error):
            raise disk from error
        raise NotFetched(reason(error)) from error


def copy_file(source: Path, archive: Archive) -> None:
    """Copy an archive from a mirror that is a folder. Raises NotFetched, OSError."""
    try:
        intact = has_md5(source, archive.md5)
    except OSError as error:
        raise NotFetched(reason(error)) from error
    if not intact:
        raise NotFetched(reason(RuntimeError()))
    shutil.copyfile(source, archive.path)


def has_md5(path: Path, md5: str) -> bool:
    """Tell whether a file has this checksum. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() == md5


def all_have_md5(folder: Path, files: list[list[str]]) -> bool:
    """Tell whether all these (name, checksum) lie in the folder, whole."""
    return all((folder / file).is_file() and has_md5(folder / file, md5) for file, md5 in files)


def disk_error(error: BaseException | None) -> OSError | None:
    """Find out if a disk stopped a download; torchvision then tries https again as http, which hides it."""
    while error is not None:
        full = isinstance(error, OSError) and error.errno in {
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EIO,
            errno.EFBIG,
        }
        if isinstance(error, OSError) and not isinstance(error, URLError) and (full or error.filename):
            return error
        error = error.__context__
    return None


def reason(error: Exception) -> str:
    """Say in a few words why a file could not be fetched or kept."""
    if isinstance(error, RuntimeError) and not isinstance(error, RecursionError):
        return "not the published file: its MD5 checksum differs"  # all that torchvision raises it for
    inner = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
    words = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return " ".join(str(words).split())


@contextmanager
def socket_timeout(seconds: float) -> Iterator[None]:
    """Give up on a host that sends nothing; torchvision's downloader sets no limit of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
