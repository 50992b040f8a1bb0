"""Load data sets by name through torchvision: fetched once, verified, from then on without a network."""

import math
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.archives import Archive, all_have_md5, check_mirror, obtain, reason
from training.errors import DataError

# torchvision and SciPy are imported where they are used: 2 s that a folder of pictures need not wait for.

DIGITS = tuple("0123456789")

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]  # uint8 N×H×W×3, RGB, 0..255; int64 N class indices


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
    http, https or file address. Raises DataError.
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
        raise DataError(f"{name}: needs {error.name}; install it: pip install '.[training]'") from error
    except OSError as error:
        raise DataError(
            f"{name}: cannot be kept in {error.filename or data_dir} ({reason(error)}); make room or "
            "mend the rights, or name another folder with --data-dir"
        ) from error
    for pixels, targets in (train, test):
        if len(pixels) != len(targets) or not np.isin(targets, np.arange(len(labels))).all():
            raise DataError(
                f"{name}: pictures and labels in {data_dir} do not belong together; remove {name}'s "
                "files there and run again to fetch them"
            )
    return tuple(labels), [train, test]


def mirrorable(name: str) -> bool:
    """Tell whether pictures keep their class in a mirror: a mirrored digit is another or none."""
    return name not in {"mnist", "svhn"}


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
    """Obtain the archives and unpack them where torchvision looks. Raises DataError, OSError."""
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
        raise DataError(
            f"{name}: what was unpacked in {data_dir} cannot be read back whole; look at the disk, or name "
            "another folder with --data-dir"
        )
