"""Load data sets by name through torchvision: fetched once, verified, from then on without a network."""

import errno
import hashlib
import http.client
import io
import math
import shutil
import socket
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

# torchvision and SciPy are imported where they are used: 2 s that a folder of pictures need not wait for.

DOWNLOAD_TIMEOUT_S = 30  # without a byte
DIGITS = tuple("0123456789")

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]  # uint8 N×H×W×3, RGB, 0..255; int64 N class indices


class NamedDataError(DataError):
    """A named data set can be neither found nor fetched; the sentence says what to do."""


class NotFetched(Exception):
    """An address did not give the file; the message says why."""


@dataclass(frozen=True)
class Archive:
    """A file as the authors of a data set publish it."""

    path: Path  # where torchvision looks for it
    md5: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Publication:
    """A data set as it is published and kept."""

    archives: tuple[Archive, ...]
    is_intact: Callable[[], bool]  # whether all that is read lies there, whole
    read: Callable[[str], tuple[Sequence[str], Part]]  # "train" or "test": class names, pictures and labels
    folder: str = ""  # below a mirror; data sets may share file names


def load_named(name: str, data_dir: Path, mirror: str | None) -> tuple[tuple[str, ...], list[Part]]:
    """Load a data set: its class names, and pictures and labels of `train` and `test`.

    Files are kept in `data_dir`; what lacks there is fetched from its authors, or from below `mirror`, an
    http, https or file address. Raises NamedDataError.
    """
    check_mirror(mirror)
    try:
        from torchvision import datasets  # noqa: PLC0415

        family, kind = PUBLISHED[name]
        publication = family(getattr(datasets, kind), data_dir, name)
        if not publication.is_intact():
            unpack(publication, name, data_dir, mirror)
        (labels, train), (_, test) = publication.read("train"), publication.read("test")
    except ModuleNotFoundError as error:
        raise NamedDataError(f"{name}: needs {error.name}; install it: pip install '.[training]'") from error
    except OSError as error:
        raise NamedDataError(
            f"{name}: cannot be kept in {error.filename or data_dir} ({reason(error)}); make room or "
            "mend the rights, or name another folder with --data-dir"
        ) from error
    for pixels, targets in (train, test):
        if len(pixels) != len(targets) or not np.isin(targets, np.arange(len(labels))).all():
            raise NamedDataError(
                f"{name}: pictures and labels in {data_dir} do not belong together; remove {name}'s "
                "files there and run again to fetch them"
            )
    return tuple(labels), [train, test]


def mirrorable(name: str) -> bool:
    """Tell whether pictures keep their class in a mirror: a mirrored digit is another or none."""
    return name not in {"mnist", "svhn"}


def check_mirror(mirror: str | None) -> None:
    """Refuse what is no address. Raises NamedDataError."""
    if mirror is None:
        return
    try:
        parts = urlsplit(mirror)
        remote = parts.scheme in {"http", "https"} and parts.hostname
        local = parts.scheme == "file" and parts.path and not parts.netloc
    except ValueError:  # "http://[": no address at all
        remote = local = None
    if not remote and not local:
        raise NamedDataError(
            f"--mirror {mirror}: not an address that files can be fetched from; give one as "
            "https://mirror.example/datasets or file:///media/datasets"
        )


def cifar(kind: Any, data_dir: Path, _: str) -> Publication:
    """CIFAR-10 and CIFAR-100 (Krizhevsky 2009): pickles in a tar, each with its checksum."""
    files = [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]

    def read(part: str) -> tuple[Sequence[str], Part]:
        with warnings.catch_warnings():  # NumPy 2.4.0 to 2.4.4 warn of Python 2's pickles: numpy#31177
            warnings.filterwarnings("ignore", r"dtype\(\): align should be passed as", Warning)
            data = kind(str(data_dir), train=part == "train")
        return data.classes, (data.data, np.asarray(data.targets, np.int64))

    return Publication(
        (Archive(data_dir / kind.filename, kind.tgz_md5, (kind.url,)),),
        lambda: all_have_md5(data_dir / kind.base_folder, files),
        read,
    )


def mnist(kind: Any, data_dir: Path, name: str) -> Publication:
    """MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017): grey, four gzipped IDX files each."""
    raw = data_dir / kind.__name__ / "raw"
    archives = tuple(
        Archive(raw / file, md5, tuple(f"{host}{file}" for host in kind.mirrors))
        for file, md5 in kind.resources
    )

    def read(part: str) -> tuple[Sequence[str], Part]:
        from torchvision.datasets.mnist import read_image_file, read_label_file  # noqa: PLC0415

        stem = "train" if part == "train" else "t10k"
        grey = read_image_file(str(raw / f"{stem}-images-idx3-ubyte")).numpy()
        targets = read_label_file(str(raw / f"{stem}-labels-idx1-ubyte")).numpy()
        classes = DIGITS if name == "mnist" else kind.classes  # "0 - zero", …
        return classes, (np.repeat(grey[..., np.newaxis], 3, axis=3), targets)

    return Publication(
        archives,
        lambda: all(idx_is_intact(archive.path.with_suffix("")) for archive in archives),
        read,
        folder=name,
    )


def idx_is_intact(path: Path) -> bool:
    """Tell whether an unpacked IDX file is whole, by its header and by the archive beside it, if there.

    Nobody publishes checksums of the unpacked files, but a gzip file ends with the CRC of its content.
    """
    if not path.is_file():
        return False
    content = path.read_bytes()
    dimensions = 3 if "idx3" in path.name else 1
    sizes = (int.from_bytes(content[4 * i : 4 * i + 4], "big") for i in range(1, dimensions + 1))
    length = 4 * (dimensions + 1) + math.prod(sizes)
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) != length:  # 8: uint8
        return False
    archive = path.with_name(f"{path.name}.gz")
    return not archive.is_file() or archive.read_bytes()[-8:-4] == zlib.crc32(content).to_bytes(4, "little")


def svhn(kind: Any, data_dir: Path, _: str) -> Publication:
    """SVHN, cropped digits (Netzer et al. 2011): two MATLAB files, read with SciPy."""
    published = [kind.split_list[part] for part in ("train", "test")]

    def read(part: str) -> tuple[Sequence[str], Part]:
        data = kind(str(data_dir), split=part)
        return DIGITS, (data.data.transpose(0, 2, 3, 1), data.labels)

    return Publication(
        tuple(Archive(data_dir / file, md5, (address,)) for address, file, md5 in published),
        lambda: all_have_md5(data_dir, [[file, md5] for _, file, md5 in published]),
        read,
    )


def stl10(kind: Any, data_dir: Path, _: str) -> Publication:
    """STL-10 (Coates et al. 2011), its labelled parts: bytes, and class names, in a tar of 2.6 GB."""
    folder = data_dir / kind.base_folder
    labelled = type(
        kind.__name__, (kind,), {"train_list": kind.train_list[:2]}
    )  # not the 2.7 GB without labels

    def class_names() -> list[str]:
        text: str = (folder / kind.class_names_file).read_text("utf-8", "replace")
        return text.splitlines()

    def is_intact() -> bool:
        names = folder / kind.class_names_file  # without a checksum
        files = [*kind.train_list[:2], *kind.test_list]
        return names.is_file() and len(set(class_names())) == 10 and all_have_md5(folder, files)

    def read(part: str) -> tuple[Sequence[str], Part]:
        data = labelled(str(data_dir), split=part)
        return class_names(), (data.data.transpose(0, 2, 3, 1), data.labels.astype(np.int64))

    return Publication((Archive(data_dir / kind.filename, kind.tgz_md5, (kind.url,)),), is_intact, read)


# name: how it is published, its class in torchvision.datasets
PUBLISHED: dict[str, tuple[Callable[[Any, Path, str], Publication], str]] = {
    "cifar10": (cifar, "CIFAR10"),
    "cifar100": (cifar, "CIFAR100"),
    "fashion-mnist": (mnist, "FashionMNIST"),
    "mnist": (mnist, "MNIST"),
    "stl10": (stl10, "STL10"),
    "svhn": (svhn, "SVHN"),
}
NAMES = tuple(PUBLISHED)


def unpack(publication: Publication, name: str, data_dir: Path, mirror: str | None) -> None:
    """Obtain the archives and unpack them where torchvision looks. Raises NamedDataError, OSError."""
    from torchvision.datasets.utils import extract_archive  # noqa: PLC0415

    for archive in publication.archives:
        file = archive.path.name
        places = (archive.path, data_dir / publication.folder / file, data_dir / file)
        inner = f"{publication.folder}/{file}".lstrip("/")
        addresses = (f"{mirror.rstrip('/')}/{inner}",) if mirror else archive.addresses
        obtain(archive, name, places, addresses)
    for archive in publication.archives:
        if archive.path.suffix == ".gz":
            extract_archive(str(archive.path), str(archive.path.parent))
    if not publication.is_intact():
        raise NamedDataError(
            f"{name}: what was unpacked in {data_dir} cannot be read back whole; look at the disk, or name "
            "another folder with --data-dir"
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
    raise NamedDataError(
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
